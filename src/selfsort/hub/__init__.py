"""Model cards, and models on the Hugging Face Hub."""

from selfsort.hub.card import model_card
from selfsort.hub.transfer import from_hub, push_to_hub

__all__ = ["from_hub", "model_card", "push_to_hub"]
