"""Quantities that the literature prints with different values."""

from dmgan.report.literature.published import Published, published_rows
from dmgan.report.tables.conflicts import conflicts

FOUND = {(each.method, each.datasets, each.metric): each for each in conflicts()}


def test_the_conflicts_of_the_documents():
    assert list(FOUND) == [
        ("KVM-GAN", ("CUB",), "IS"),
        ("KVM-GAN", ("COCO",), "IS"),
        ("KVM-GAN", ("CUB",), "FID"),
        ("AttnGAN", ("COCO",), "FID"),
        ("KVM-GAN", ("COCO",), "FID"),
        ("KVM-GAN vs AttnGAN", ("CUB", "COCO"), "R-precision gain"),
        ("DM-GAN", ("COCO",), "IS"),
        ("DM-GAN", ("COCO",), "hp:batch_size"),
        ("DM-GAN", ("CUB",), "hp:epochs"),
        ("DM-GAN", ("COCO",), "hp:epochs"),
        ("dataset", ("COCO",), "data:train_images"),
        ("dataset", ("COCO",), "data:test_images"),
        ("DM-GAN", ("CUB", "COCO"), "hp:discriminator_loss_terms"),
    ]


def test_a_conflict_has_its_values_places_and_difference():
    within = FOUND["KVM-GAN", ("CUB",), "FID"]
    assert list(within.values) == ["16.09", "16.33", "16.00"] and within.documents == "one document"
    assert within.difference == "0.33 (2.1 %)"
    between = FOUND["DM-GAN", ("COCO",), "IS"]
    assert between.values["32.32"] == ["Memory-Driven, Table 1"] and between.documents == "several documents"
    assert between.difference == "1.83 (6.0 %)"
    assert any("so the row is mixed" in remark for remark in between.remarks)
    assert FOUND["KVM-GAN", ("COCO",), "FID"].difference == ""  # the draft's placeholder is no number


def test_every_conflict_has_a_remark():
    assert all(each.remarks for each in FOUND.values())


def row(source, table, method, value, std=""):
    return Published(source, table, "CUB", method, "IS", value, std, "", "")


def test_one_model_has_one_identity_under_its_printed_names():
    names = ("DM-GAN", "DM-GAN +M+WG+RG", "DM-GAN (paper)")
    rows = [row("003", f"Table {place}", name, "4.75") for place, name in enumerate(names)]
    assert conflicts(rows) == []
    (found,) = conflicts([*rows, row("004", "Table 1", "DM-GAN (paper)", "4.76")])
    assert found.method == "DM-GAN" and len(found.rows) == 4


def test_equal_numbers_and_lists_of_one_place_are_no_conflict():
    assert conflicts([row("003", "a", "GAWWN", "3.6"), row("003", "b", "GAWWN", "3.60", "0.07")]) == []
    assert conflicts([row("003", "a", "GAWWN", "16"), row("003", "a", "GAWWN", "32")]) == []
    assert conflicts([row("000", "a", "GAWWN", "16"), row("001", "a", "GAWWN", "32")]) == []  # a scan
    tried = [each for each in published_rows() if each.metric == "hp:memory_resolution_tried"]
    assert len(tried) == 2 and conflicts(tried) == []
