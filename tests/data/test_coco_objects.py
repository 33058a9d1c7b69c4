"""COCO's classes in captions: which words name a class, and which images are drawn for SOA."""

import pytest

from dmgan.data.coco_objects import COCO_CLASSES, named_coco_classes, plan_coco_images


def named(caption: str) -> set[str]:
    return {COCO_CLASSES[number] for number in named_coco_classes(caption)}


@pytest.mark.parametrize(
    ("caption", "classes"),
    [
        ("A red bus parked beside two cars.", {"bus", "car"}),
        ("Airplanes and a jet on the runway", {"airplane"}),
        ("A man on a jet ski", {"person"}),
        ("Two dogs watch a kitten", {"dog", "cat"}),
        ("A hot dog with mustard", {"hot dog"}),
        ("A bear beside a teddy bear", {"bear", "teddy bear"}),
        ("A TEDDY BEAR ON A BED", {"teddy bear", "bed"}),
        ("An empty train track", set()),
        ("A baby elephant and a baby", {"elephant", "person"}),
        ("A microwave oven in a flower bed", {"microwave"}),
        ("A train on the train tracks", {"train"}),
        ("An orange couch", {"couch"}),
        ("A bowl of oranges", {"bowl", "orange"}),
        ("A woven basket of pancakes", set()),
        ("An atv, a dapple and a MacBook", set()),
        ("Men surfing", {"person", "surfboard"}),
        ("wine glasses on a desk", {"wine glass", "dining table"}),
        ("knives and forks", {"knife", "fork"}),
        ("a purse, a suit-case", {"handbag", "suitcase"}),
        ("a dirt bike", {"motorcycle"}),
        ("a computer mouse", {"mouse"}),
        ("a mouse eats cheese", set()),
        ("buses, benches and sandwiches", {"bus", "bench", "sandwich"}),
        ("nothing to see", set()),
    ],
)
def test_a_caption_names_whole_words(caption, classes):
    assert named(caption) == classes


def test_every_class_is_named_by_its_own_name():
    own = {"orange": "oranges", "mouse": "computer mouse", "potted plant": "potted plant"}
    for name in COCO_CLASSES:
        text = {"sports ball": "ball", "fire hydrant": "hydrant", "tennis racket": "racket", "dining table": "table"}
        assert name in named(f"a {(own | text).get(name, name)} is here"), name
    assert len(COCO_CLASSES) == 80


def test_images_are_three_a_caption_and_one_a_drawn_caption_of_person():
    captions = {(image, 0): "a man" for image in range(20)} | {(20, 1): "a dog and a cat", (21, 0): "a hill"}
    plan = plan_coco_images(captions, seed=1, person_images=7)
    person = [each for each in plan if COCO_CLASSES[each.class_number] == "person"]
    assert len(person) == len(set(person)) == 7
    others = [(COCO_CLASSES[each.class_number], each.image, each.caption) for each in plan if each not in person]
    assert others == [("cat", 20, 1)] * 3 + [("dog", 20, 1)] * 3
    assert plan == plan_coco_images(captions, seed=1, person_images=7)
    assert plan != plan_coco_images(captions, seed=2, person_images=7)
    assert len(plan_coco_images(captions, seed=1)) == 20 + 6
