"""Every registered term gives one value per image, and each one's numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import log_loss, mean_squared_error, mutual_info_score

from selfsort.errors import InputError
from selfsort.objectives import NEEDS, RECONSTRUCTION_TERMS, TERMS, Objective, Outputs

everything = pytest.mark.parametrize("name", sorted(TERMS))
N, K = 24, 4


def random_outputs(seed: int = 0, shape: tuple[int, ...] = (2, 9, 8)) -> Outputs:
    generator = torch.Generator().manual_seed(seed)

    def uniform(*size: int) -> torch.Tensor:
        return torch.rand(N, *size, generator=generator, dtype=torch.float64)

    logits, others = 4 * uniform(K) - 2, 4 * uniform(K) - 2
    targets = torch.eye(K, dtype=torch.float64)[(uniform() * K).long()]
    targets[::3] = 0
    return Outputs(
        images=uniform(*shape),
        code=logits.softmax(1),
        logits=logits.requires_grad_(),
        class_logits=logits,
        partner_code=others.softmax(1).requires_grad_(),
        reconstruction=uniform(*shape).requires_grad_(),
        targets=targets,
        divergence=logits.square().sum(1),
    )


# Everything registered


@everything
@pytest.mark.parametrize("shape", [(2, 9, 8), (7,)])
def test_a_term_gives_one_finite_value_per_image(name, shape):
    values = TERMS[name](random_outputs(shape=shape))
    assert values.shape == (N,)
    assert torch.isfinite(values).all()


@everything
def test_the_gradient_of_a_term_reaches_what_it_reads(name):
    outputs = random_outputs()
    TERMS[name](outputs).mean().backward()
    read = [outputs.logits, outputs.partner_code, outputs.reconstruction]
    found = [tensor.grad for tensor in read if tensor.grad is not None]
    assert found
    assert all(torch.isfinite(gradient).all() and gradient.any() for gradient in found)


@everything
def test_the_order_of_the_images_orders_the_values(name):
    outputs = random_outputs()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    fields = {field: value for field, value in vars(outputs).items() if value is not None}
    turned = Outputs(**{field: value[order] for field, value in fields.items()})
    found, expected = TERMS[name](turned), TERMS[name](outputs)[order]
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-12)


@everything
def test_an_objective_of_one_term_gives_its_unweighted_values(name):
    outputs = random_outputs()
    found = Objective({name: 3.0})(outputs)
    assert list(found) == [name]
    assert torch.equal(found[name], TERMS[name](outputs))


def test_what_the_terms_need_is_registered():
    assert set(NEEDS) <= set(TERMS)
    assert set(NEEDS.values()) <= set(vars(random_outputs()))
    assert set(RECONSTRUCTION_TERMS) <= set(TERMS)


# Reconstruction


def test_mse_is_that_of_scikit_learn():
    outputs = random_outputs()
    images = outputs.images.flatten(1).numpy()
    rebuilt = outputs.reconstruction.detach().flatten(1).numpy()
    expected = [mean_squared_error(a, b) for a, b in zip(images, rebuilt, strict=True)]
    np.testing.assert_allclose(TERMS["mse"](outputs).detach().numpy(), expected, rtol=1e-12)


def test_bce_is_the_log_loss_of_scikit_learn_on_black_and_white_pixels():
    outputs = random_outputs()
    outputs.images = outputs.images.round()
    images = outputs.images.flatten(1).numpy()
    rebuilt = outputs.reconstruction.detach().flatten(1).numpy()
    expected = [log_loss(a, b) for a, b in zip(images, rebuilt, strict=True)]
    np.testing.assert_allclose(TERMS["bce"](outputs).detach().numpy(), expected, rtol=1e-10)


def test_bce_of_grey_pixels_is_the_formula():
    outputs = random_outputs()
    x = outputs.images.flatten(1).numpy()
    p = outputs.reconstruction.detach().flatten(1).numpy()
    expected = -(x * np.log(p) + (1 - x) * np.log1p(-p)).mean(axis=1)
    np.testing.assert_allclose(TERMS["bce"](outputs).detach().numpy(), expected, rtol=1e-10)


def test_nll_sums_bce_over_the_pixels():
    outputs = random_outputs()
    n_pixels = outputs.images[0].numel()
    expected = n_pixels * TERMS["bce"](outputs).detach().numpy()
    np.testing.assert_allclose(TERMS["nll"](outputs).detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", RECONSTRUCTION_TERMS)
def test_several_codes_of_an_image_are_compared_with_it_and_combined(name):
    outputs = random_outputs()
    rebuilt = torch.rand(3 * N, 2, 9, 8, dtype=torch.float64)
    values = [
        TERMS[name](Outputs(images=outputs.images, reconstruction=rebuilt[copy::3]))
        for copy in range(3)
    ]
    outputs.reconstruction, outputs.combine = rebuilt, lambda values: values.amax(1)
    found = TERMS[name](outputs)
    np.testing.assert_allclose(found.numpy(), torch.stack(values).amax(0).numpy(), rtol=1e-12)


def test_bce_of_wholly_wrong_and_right_pixels_is_finite():
    outputs = Outputs(
        images=torch.tensor([[1.0], [1.0]]), reconstruction=torch.tensor([[0.0], [1.0]])
    )
    wrong, right = TERMS["bce"](outputs).tolist()
    assert wrong == pytest.approx(-math.log(1e-6), rel=1e-4)
    assert right == pytest.approx(1e-6, rel=0.1)


# Classification


def test_classification_is_the_cross_entropy_of_the_labelled_images():
    outputs = random_outputs()
    labelled = outputs.targets.sum(1) > 0
    assert 0 < labelled.sum() < N
    classes = outputs.targets[labelled].argmax(1)
    expected = F.cross_entropy(outputs.logits[labelled], classes)
    values = TERMS["classification"](outputs)
    assert values.mean().item() == pytest.approx(expected.item(), rel=1e-12)
    assert (values[~labelled] == 0).all()


def test_classification_takes_distributions_as_targets():
    outputs = random_outputs()
    outputs.targets = random_outputs(1).code.detach()
    expected = F.cross_entropy(outputs.logits, outputs.targets, reduction="none")
    found = TERMS["classification"](outputs)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-12)


def test_a_batch_without_labels_has_no_classification_loss_and_no_gradient():
    outputs = random_outputs()
    outputs.targets = torch.zeros_like(outputs.targets)
    values = TERMS["classification"](outputs)
    values.mean().backward()
    assert values.tolist() == [0] * N
    assert not outputs.logits.grad.any()


# Information


def test_information_of_hard_codes_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    left = rng.integers(0, K, 300)
    right = np.where(rng.random(300) < 0.7, left, rng.integers(0, K, 300))
    eye = torch.eye(K, dtype=torch.float64)
    outputs = Outputs(torch.zeros(300, 1), code=eye[left], partner_code=eye[right])
    # The term symmetrises: both orders of each pair are counted.
    expected = mutual_info_score(np.append(left, right), np.append(right, left))
    assert expected > 0.3
    assert TERMS["information"](outputs).mean().item() == pytest.approx(-expected, rel=1e-12)


def double_loop_information(code: np.ndarray, partner: np.ndarray) -> np.ndarray:
    joint = np.zeros((K, K))
    for a, b in zip(code, partner, strict=True):
        joint += (np.outer(a, b) + np.outer(b, a)) / (2 * len(code))
    values = np.zeros(len(code))
    for i in range(len(code)):
        for a in range(K):
            for b in range(K):
                ratio = joint[a, b] / (joint[a].sum() * joint[:, b].sum())
                values[i] -= code[i, a] * partner[i, b] * math.log(ratio)
    return values


def test_information_of_soft_codes_is_the_double_loop():
    outputs = random_outputs()
    code, partner = outputs.code.detach().numpy(), outputs.partner_code.detach().numpy()
    found = TERMS["information"](outputs).detach().numpy()
    np.testing.assert_allclose(found, double_loop_information(code, partner), rtol=1e-9)


def test_the_gradient_of_the_information_is_that_of_finite_differences():
    outputs = random_outputs()
    code, partner = outputs.code.detach().numpy(), outputs.partner_code.detach().numpy()
    TERMS["information"](outputs).mean().backward()
    for i, a in [(0, 0), (5, 3), (23, 1)]:
        step = np.zeros_like(partner)
        step[i, a] = 1e-5
        upper = double_loop_information(code, partner + step).mean()
        lower = double_loop_information(code, partner - step).mean()
        expected = (upper - lower) / 2e-5
        assert outputs.partner_code.grad[i, a].item() == pytest.approx(expected, rel=1e-5)


def test_information_is_symmetric_in_image_and_partner():
    outputs = random_outputs()
    turned = Outputs(outputs.images, code=outputs.partner_code, partner_code=outputs.code)
    found, expected = TERMS["information"](turned).mean(), TERMS["information"](outputs).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_classes_out_of_use_have_no_information_and_finite_gradients():
    code = torch.zeros(10, K)
    code[:, 1] = 1
    outputs = Outputs(torch.zeros(10, 1), code=code.requires_grad_(), partner_code=code)
    value = TERMS["information"](outputs).mean()
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(code.grad).all()


# The weighted sum


def test_terms_of_weight_zero_are_not_computed():
    objective = Objective({"mse": 0.5, "classification": 0, "information": 2})
    assert objective.weights == {"mse": 0.5, "information": 2.0}
    assert list(objective(random_outputs())) == ["mse", "information"]
    assert objective.needs("reconstruction")
    assert objective.needs("partner_code")
    assert not Objective({"classification": 1.0}).needs("reconstruction")


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (
            {"mes": 1.0},
            "There is no term named 'mes'. Did you mean 'mse'? "
            f"Known terms: {', '.join(sorted(TERMS))}.",
        ),
        (
            {"mse": -0.5},
            "The weight of the term 'mse' must be a finite number of at least 0. Got -0.5 instead.",
        ),
        (
            {"bce": math.nan},
            "The weight of the term 'bce' must be a finite number of at least 0. Got nan instead.",
        ),
        (
            {"bce": math.inf},
            "The weight of the term 'bce' must be a finite number of at least 0. Got inf instead.",
        ),
        (
            {"mse": 0.0, "classification": 0},
            "There is nothing to learn: every term has weight 0 (mse, classification). "
            "Give at least one of them a weight above 0.",
        ),
    ],
)
def test_weights_that_cannot_be_used(weights, sentence):
    with pytest.raises(InputError) as error:
        Objective(weights)
    assert str(error.value) == sentence
