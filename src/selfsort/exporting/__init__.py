"""Models as other programs read them: ONNX, torch.export, and a page that needs no server."""

from selfsort.exporting.writing import Exported, export

__all__ = ["Exported", "export"]
