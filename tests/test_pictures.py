"""The pictures: their pixels, their words, their files."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_digits

from selfsort import pictures
from selfsort.errors import InputError

HOSTILE = ["$\\foo_{", "line\nbreak\t\x00", "日本", "<script>", "x" * 300]


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return (load_digits().images[:40, None] / 16).astype(np.float32)


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """Figures that would have been written."""
    figures: list[Figure] = []
    for module in (
        "choice",
        "confusion",
        "coverage",
        "curves",
        "diagnosis",
        "embedding",
        "mosaics",
        "tradeoff",
    ):
        monkeypatch.setattr(
            f"selfsort.pictures.{module}.write_png", lambda path, figure: figures.append(figure)
        )
    return figures


def flat(n: int, *colour: int, side: int = 8) -> np.ndarray:
    """Return n uint8 images of one colour."""
    return np.broadcast_to(np.array(colour, np.uint8)[:, None, None], (n, len(colour), side, side))


def colours(path: Path) -> dict[tuple[int, int, int], int]:
    """Return how many pixels of the picture have each colour."""
    with Image.open(path) as image:
        found = image.convert("RGB").getcolors(1 << 24)
    return {colour: n for n, colour in found}


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def row(stage: str = "all", epoch: int = 1, **terms: float | None) -> dict:
    return {"stage": stage, "epoch": epoch, "n_epochs": 9, "loss": 1.0, "seconds": 1.0, **terms}


def test_images_are_enlarged_without_smoothing(tmp_path):
    path = tmp_path / "reconstructions.png"
    pictures.save_reconstructions(path, flat(12, 200, 30, 90), flat(12, 10, 220, 40))
    # ten of twelve, each 8 pixels enlarged ten times
    found = colours(path)
    assert found[200, 30, 90] == found[10, 220, 40] == 10 * 80 * 80


def test_floats_and_uint8_give_the_same_picture(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 9, 7), dtype=np.uint8)
    pictures.save_contact_sheet(tmp_path / "a.png", images, "Sheet")
    pictures.save_contact_sheet(tmp_path / "b.png", images / 255, "Sheet")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [
        ((7,), (7, 7, 7)),
        ((60, 130), (60, 130, 60)),
        ((1, 2, 3), (1, 2, 3)),
        ((100, 50, 0, 0), None),  # wholly transparent: white like the page
        ((100, 50, 0, 255), (100, 50, 0)),
    ],
)
def test_one_to_four_channels(tmp_path, pixel, expected):
    pictures.save_contact_sheet(tmp_path / "sheet.png", flat(3, *pixel), "")
    found = colours(tmp_path / "sheet.png")
    if expected is None:
        assert set(found) == {(255, 255, 255)}
    else:
        assert found[expected] == 3 * 56 * 56


def test_large_images_are_reduced_by_their_mean(tmp_path):
    checks = np.indices((200, 200)).sum(0) % 2  # black and white pixels: grey from afar
    pictures.save_contact_sheet(tmp_path / "sheet.png", checks[None, None].astype(float), "")
    found = colours(tmp_path / "sheet.png")
    assert len(found) == 2  # the page and one grey
    assert found.keys() <= {(255, 255, 255), (127, 127, 127), (128, 128, 128)}


def test_vectors_are_bars_from_zero_with_one_scale_for_all_rows(tmp_path):
    high, half = np.full((1, 4), 2.0), np.full((1, 4), 1.0)
    pictures.save_reconstructions(tmp_path / "a.png", high, half)
    # 84 pixels high for the larger, half of it for the smaller, and four bars 21 wide
    assert colours(tmp_path / "a.png")[0, 114, 178] == 4 * 21 * (84 + 42)


@pytest.mark.parametrize(
    ("n_epochs", "expected"), [(1, [0]), (3, [0, 1, 2]), (39, list(range(0, 39, 2)))]
)
def test_many_epochs_are_thinned_with_first_and_last_kept(drawn, digits, n_epochs, expected):
    epochs = [digits] * n_epochs
    pictures.save_epochs(Path("e.png"), digits, epochs, [f"epoch {i}" for i in range(n_epochs)])
    assert words(drawn[0]) == ["input", *(f"epoch {i}" for i in expected)]


def test_prototypes_have_name_and_number_and_wrap(drawn, digits):
    pictures.save_prototypes(
        Path("p.png"), digits[:12], [f"c{i}" for i in range(12)], range(990, 1002)
    )
    assert words(drawn[0])[:2] == ["c0", "990"]
    assert words(drawn[0])[-2:] == ["c11", "1,001"]
    (width, height) = drawn[0].get_size_inches()
    assert (width, height) == pytest.approx(((10 * 100 - 4) / 100, (2 * 136 - 4) / 100))


def test_a_comparison_names_its_rows(drawn, digits):
    pictures.save_comparison_strip(Path("c.png"), [("question", digits), ("sort", digits)])
    assert words(drawn[0]) == ["question", "sort"]


def test_a_contact_sheet_of_thousands_says_how_many_it_shows(drawn):
    pictures.save_contact_sheet(Path("s.png"), flat(5000, 9, side=2), "Class 3")
    assert words(drawn[0]) == ["Class 3 (384 of 5,000 images)"]


def test_an_empty_class_is_said_to_be_empty(drawn):
    pictures.save_contact_sheet(Path("s.png"), flat(0, 9), "Class 3")
    assert words(drawn[0]) == ["no images", "Class 3"]


def test_a_confusion_matrix_shows_every_count_readably(drawn):
    matrix = np.arange(100).reshape(10, 10) ** 2
    names = [str(i) for i in range(10)]
    pictures.save_confusion(Path("c.png"), matrix, names, names[::-1], "Test")
    axes = drawn[0].axes[0]
    assert [int(word) for word in words(drawn[0])] == matrix.ravel().tolist()
    assert [label.get_text() for label in axes.get_xticklabels()] == names[::-1]
    cells = axes.images[0].to_rgba(axes.images[0].get_array())[..., :3].reshape(-1, 3)
    ratios = [contrast(c, t.get_color()) for c, t in zip(cells, axes.texts, strict=True)]
    assert min(ratios) > 4


def contrast(cell: np.ndarray, colour: str) -> float:
    """Return the contrast ratio as the WCAG 2 defines it."""
    text = [1.0] * 3 if colour == "white" else [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        for c in (np.array(text), cell)
    ]
    low, high = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in linear)
    return (high + 0.05) / (low + 0.05)


def test_past_thirty_classes_a_confusion_matrix_has_no_counts(drawn):
    for n in (30, 31):
        names = [f"class {i}" for i in range(n)]
        pictures.save_confusion(Path("c.png"), np.eye(n, dtype=int), names, names, "Test")
    assert [len(words(figure)) for figure in drawn] == [900, 0]


def titles(figure: Figure) -> list[str]:
    return [axes.get_title("left") for axes in figure.axes]


def test_curves_have_a_panel_for_each_term_and_the_accuracy(drawn):
    history = [
        row(epoch=i, reconstruction=1 / i, classification=9.0**-i, test_accuracy=0.9)
        for i in (1, 2, 3)
    ]
    pictures.save_curves(Path("c.png"), history)
    assert titles(drawn[0]) == ["loss", "reconstruction", "classification", "test accuracy"]
    assert [axes.get_yscale() for axes in drawn[0].axes] == ["linear", "linear", "log", "linear"]


def test_curves_count_epochs_through_all_stages(drawn):
    history = [
        row("fine", 1, information=-1.5),
        row("fine", 2, information=-2.0),
        row("decoder", 1, reconstruction=0.07, test_accuracy=None),
    ]
    pictures.save_curves(Path("c.png"), history)
    # one term a row: a panel for their sum would repeat them
    assert titles(drawn[0]) == ["information", "reconstruction", "test accuracy"]
    fine, decoder = drawn[0].axes[1].lines
    assert (list(fine.get_xdata()), list(decoder.get_xdata())) == ([1, 2], [3])
    assert decoder.get_ydata() == pytest.approx([0.07])
    names = [text.get_text() for text in drawn[0].axes[0].child_axes[0].get_xticklabels()]
    assert names == ["fine", "decoder"]


def test_stages_too_narrow_for_their_names_are_listed_with_their_epochs(drawn):
    history = [row("grouping", 1, a=1.0), *(row("self-training", i, a=1.0) for i in range(1, 40))]
    pictures.save_curves(Path("c.png"), history)
    assert drawn[0].get_suptitle() == "Epochs: grouping 1 · self-training 2-40"


def test_a_tradeoff_has_a_label_at_each_point_and_none_overlap(drawn):
    multipliers = [0.01, 0.1, 0.3, 0.49, 0.5, 0.51, 0.7, 0.9, 0.99]
    points = [
        {"multiplier": m, "accuracy": 0.97 + m / 90, "reconstruction_mse": 0.06 + m**3 / 50}
        for m in reversed(multipliers)
    ]
    pictures.save_tradeoff(Path("t.png"), points)
    axes = drawn[0].axes[0]
    assert words(drawn[0]) == [str(m) for m in multipliers]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)]
    centres = axes.transData.transform(axes.lines[1].get_xydata())
    assert not [1 for box in boxes for centre in centres if box.contains(*centre)]


SHARES = np.array([0.02, 0.5, 1.0]), np.array([0.3, 0.98, 0.93])
MARKS = [(0.9, 0.8123, 0.9712), (0.99, 0.5, 0.98)]


def test_coverage_marks_what_is_kept_and_tells_it_in_words(drawn):
    pictures.save_coverage(Path("c.png"), *SHARES, MARKS, "60 test images")
    (axes,), (legend,) = drawn[0].axes, drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "all images: 93.00 % right",
        "probability of at least 0.9: 81.2 % of the images, 97.12 % of these right",
        "probability of at least 0.99: 50.0 % of the images, 98.00 % of these right",
    ]
    points = [line.get_xydata().tolist() for line in axes.lines]
    assert points == [
        [[0.02, 0.3], [0.5, 0.98], [1.0, 0.93]],
        [[1.0, 0.93]],
        [[0.8123, 0.9712]],
        [[0.5, 0.98]],
    ]
    assert titles(drawn[0]) == ["60 test images"]


def test_coverage_is_drawn_where_it_matters(drawn):
    """The accuracy of the first few images is left out, and no tick is above 100 %."""
    pictures.save_coverage(Path("c.png"), *SHARES, MARKS, "")
    pictures.save_coverage(Path("c.png"), np.array([1.0]), np.array([1.0]), [], "")
    pictures.save_coverage(Path("c.png"), np.array([0.5, 1.0]), np.array([0.0, 0.0]), [], "")
    all_axes = [figure.axes[0] for figure in drawn]
    bottoms = [axes.get_ylim()[0] for axes in all_axes]
    assert bottoms == pytest.approx([0.9258, 0.9947, 0.0])
    for axes in all_axes:
        low, high = axes.get_ylim()
        assert high > 1
        assert all(low <= tick <= 1 for tick in axes.get_yticks())


def test_a_choice_shows_the_information_and_what_each_group_adds(drawn):
    pictures.save_choice(Path("c.png"), np.array([0.0, 0.5, 0.9, 1.0]), n_classes=3)
    kept, added = drawn[0].axes
    assert titles(drawn[0]) == [
        "Information kept, in nats; this run: 3 classes",
        "What the last group adds, in nats",
    ]
    curve, line, point = kept.lines
    assert curve.get_xydata().tolist() == [[1, 0.0], [2, 0.5], [3, 0.9], [4, 1.0]]
    assert (list(line.get_xdata()), point.get_xydata().tolist()) == ([3, 3], [[3, 0.9]])
    assert [bar.get_height() for bar in added.patches] == pytest.approx([0.5, 0.4, 0.1])
    assert len({bar.get_facecolor() for bar in added.patches}) == 3  # before, this one, after


def test_more_classes_than_the_curve_reaches_are_named_but_not_marked(drawn):
    pictures.save_choice(Path("c.png"), np.array([0.0, 0.5, 0.9]), n_classes=50)
    assert len(drawn[0].axes[0].lines) == 1
    assert titles(drawn[0])[0] == "Information kept, in nats; this run: 50 classes"


def test_a_map_has_a_dot_for_each_image_and_names_where_most_of_a_class_lie(drawn, digits):
    """Three tight groups, and one image of the first class far out among the second."""
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    classes = np.arange(39) % 3
    positions = centres[classes] + np.random.default_rng(0).normal(size=(39, 2)) / 100
    positions[0] = centres[1]
    pictures.save_map(Path("map.png"), positions, digits[:39], classes, ["a", "$\\b$", "c"])
    (figure,) = drawn
    (axes,) = figure.axes
    (dots,) = axes.collections
    assert dots.get_offsets().shape == (39, 2)
    assert len(np.unique(dots.get_facecolor(), axis=0)) == 3
    named = {text.get_text(): text.xy for text in axes.texts}
    assert list(named) == ["a", "$\\b$", "c"]
    span = positions.max(0) - positions.min(0)
    for name, centre in zip(named, centres, strict=True):
        expected = (centre - positions.min(0)) / span
        assert named[name] == pytest.approx(expected, abs=0.02)
    shown = [artist.xy for artist in axes.artists]
    assert len(shown) == 3  # the others would cover these
    assert all(np.abs(np.subtract(a, b)).max() > 0.05 for a, b in combinations(shown, 2))


def test_a_diagnosis_shows_what_was_not_finite(drawn):
    layer = {"name": "encoder.0.weight", "part": "encoder", "gradient": 1e-6, "update": 0.0}
    figures = {
        "losses": [1.0, 0.5, None],
        "terms": {"mse_loss": [0.5, 0.3, None], "exp": [0.5, 0.2, None]},
        "rates": [
            {"rate": rate, "loss": loss} for rate, loss in ((0.1, 0.9), (1, 0.5), (10, None))
        ],
        "learning_rate": 0.01,
        "layers": [layer, {**layer, "name": "decoder.0.weight", "part": "decoder"}],
    }
    pictures.save_diagnosis(Path("diagnosis.png"), figures)
    losses, rates, layers = drawn[0].axes
    assert [line.get_label() for line in losses.get_lines()] == ["loss", "mse_loss", "exp"]
    assert rates.get_lines()[0].get_xdata() == pytest.approx([0.001, 0.01, 0.1])
    assert list(rates.get_lines()[2].get_xdata()) == pytest.approx([0.1])  # the cross
    assert [label.get_text() for label in layers.get_yticklabels()] == [
        "encoder.0.weight", "decoder.0.weight",
    ]  # fmt: skip


def test_a_sheet_of_names_keeps_the_end_of_a_name_and_the_start_of_a_note(drawn, digits):
    names = ["7", "holiday/2024/img_0412.png"]
    notes = ["51 % class 3", "9 % aeroplanes and helicopters"]
    pictures.save_named_sheet(Path("s.png"), digits[:2], names, notes, "Unusual")
    assert words(drawn[0]) == ["7", "51 % class 3", "…img_0412.png", "9 % aeroplan…", "Unusual"]
    pictures.save_named_sheet(Path("s.png"), digits[:2], names, None, "Unusual")
    assert words(drawn[1]) == ["7", "…img_0412.png", "Unusual"]


def test_names_on_a_sheet_do_not_overlap(drawn):
    names = ["IMG_20240412_09.PNG", "000412.png"] * 5
    for side in (8, 64, 300):
        images = np.zeros((10, 1, side, side // 2), np.float32)  # taller than wide
        pictures.save_named_sheet(Path("s.png"), images, names, names, "")
        texts = drawn[-1].axes[0].texts[:-1]
        boxes = [text.get_window_extent() for text in texts]
        assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)], side


def test_of_many_named_images_the_first_are_drawn(drawn):
    names = [str(i) for i in range(201)]
    pictures.save_named_sheet(Path("s.png"), flat(201, 9), names, None, "To label")
    assert words(drawn[0]) == [*names[:200], "To label (the first 200 of 201)"]


def test_names_with_markup_line_breaks_or_other_scripts_are_drawn(tmp_path, digits):
    pictures.save_prototypes(tmp_path / "p.png", digits[:5], HOSTILE)
    pictures.save_confusion(tmp_path / "c.png", np.eye(5, dtype=int), HOSTILE, HOSTILE, "$\\foo")
    history = [row(name, 1, **{"$\\foo": 1.0}) for name in HOSTILE]
    pictures.save_curves(tmp_path / "h.png", history)
    pictures.save_contact_sheet(tmp_path / "s.png", digits, "\n$\\foo")
    pictures.save_comparison_strip(tmp_path / "r.png", [(name, digits) for name in HOSTILE])
    pictures.save_named_sheet(tmp_path / "n.png", digits[:5], HOSTILE, HOSTILE, "$\\foo")
    pictures.save_coverage(tmp_path / "v.png", *SHARES, MARKS, "$\\foo")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "c.png",
        "h.png",
        "n.png",
        "p.png",
        "r.png",
        "s.png",
        "v.png",
    ]
    assert all(colours(path) for path in tmp_path.iterdir())


def test_even_noise_in_colour_stays_below_a_megabyte(tmp_path):
    noise = np.random.default_rng(0).random((400, 3, 28, 28))
    pictures.save_contact_sheet(tmp_path / "s.png", noise, "Noise")
    assert (tmp_path / "s.png").stat().st_size < 1_000_000


def test_a_failed_write_leaves_nothing_behind(tmp_path, digits):
    (tmp_path / "sheet.png").mkdir()
    with pytest.raises(OSError, match=r"sheet\.png"):
        pictures.save_contact_sheet(tmp_path / "sheet.png", digits, "Digits")
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda p: pictures.save_contact_sheet(p, np.zeros((3, 5, 8, 8)), "t"),
            "Pictures must have shape (n, 1 to 4 channels, height, width) or (n, p). "
            "Got (3, 5, 8, 8) instead.",
        ),
        (
            lambda p: pictures.save_contact_sheet(p, np.zeros((3, 1, 8, 8), int), "t"),
            "Pictures must be uint8 or floats in [0, 1]. Got int64 instead.",
        ),
        (
            lambda p: pictures.save_contact_sheet(p, flat(1, 0), "t", n_columns=0),
            "n_columns must be at least 1. Got 0 instead.",
        ),
        (
            lambda p: pictures.save_reconstructions(p, flat(2, 0), flat(2, 0, side=9)),
            "The pictures of 'reconstruction' must have the shape of those of 'input', "
            "(1, 8, 8). Got (1, 9, 9) instead.",
        ),
        (
            lambda p: pictures.save_reconstructions(p, flat(0, 0), flat(0, 0)),
            "There is no picture to draw. Give one or more.",
        ),
        (
            lambda p: pictures.save_comparison_strip(p, []),
            "There is no row of pictures to draw. Give one or more.",
        ),
        (
            lambda p: pictures.save_epochs(p, flat(2, 0), [flat(2, 0)], []),
            "labels must have one entry for each of the 1 epochs. Got 0.",
        ),
        (
            lambda p: pictures.save_prototypes(p, flat(2, 0), ["a", "b"], [1]),
            "counts must have one entry for each of the 2 prototypes. Got 1.",
        ),
        (
            lambda p: pictures.save_confusion(p, np.eye(2), ["a", "b"], ["a"], "t"),
            "column_names must have one entry for each of the 2 columns. Got 1.",
        ),
        (
            lambda p: pictures.save_curves(p, []),
            "history has no epoch, so there is no curve. Train one epoch or more.",
        ),
        (
            lambda p: pictures.save_coverage(p, np.zeros(0), np.zeros(0), [], "t"),
            "coverage has no point, so there is no curve. Give one image or more.",
        ),
        (
            lambda p: pictures.save_coverage(p, np.ones(2), np.ones(1), [], "t"),
            "accuracy must have one entry for each of the 2 shares of coverage. Got 1.",
        ),
        (
            lambda p: pictures.save_choice(p, np.zeros(1), 2),
            "curve must have an entry for each number of groups, at least two. "
            "Got shape (1,) instead.",
        ),
        (
            lambda p: pictures.save_named_sheet(p, flat(2, 0), ["a"], None, "t"),
            "names must have one entry for each of the 2 images. Got 1.",
        ),
        (
            lambda p: pictures.save_named_sheet(p, flat(2, 0), ["a", "b"], ["c"], "t"),
            "notes must have one entry for each of the 2 images. Got 1.",
        ),
        (
            lambda p: pictures.save_named_sheet(p, flat(0, 0), [], None, "t"),
            "There is no picture to draw. Give one or more.",
        ),
        (
            lambda p: pictures.save_tradeoff(p, []),
            "points is empty, so there is no picture. Give one multiplier or more.",
        ),
    ],
)
def test_what_cannot_be_drawn_is_named_and_writes_nothing(tmp_path, call, sentence):
    with pytest.raises(InputError) as error:
        call(tmp_path / "picture.png")
    assert str(error.value) == sentence
    assert not list(tmp_path.iterdir())


def test_neither_pyplot_nor_torch_is_imported():
    code = "import sys, selfsort.pictures, selfsort.report; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "selfsort.report" in modules
    assert not {"matplotlib.pyplot", "torch"} & set(modules)
