from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from rilievo.chain import Cache, Chain
from rilievo.project import Project
from rilievo.types import Camera


@dataclass(frozen=True)
class Settings:
    version: ClassVar[int] = 1
    factor: float = 1.0


def camera(x):
    return Camera("PINHOLE", 4, 3, np.array([x, x, 2.0, 1.5]))


@pytest.mark.parametrize("parallel", [False, True])
def test_each_item_is_made_once_and_a_new_one_makes_only_itself(tmp_path, parallel):
    made, told = [], []

    def make(name):
        made.append(name)
        return camera(float(len(name)))

    def run(items):
        chain = Chain(Project(tmp_path), 3, lambda *args: told.append(args))
        return chain.each("stage", Settings(), items, lambda name: [name], make, parallel=parallel)

    first = run(["a", "bb"])
    assert sorted(made) == ["a", "bb"]
    second = run(["a", "bb", "ccc"])
    assert made[2:] == ["ccc"]
    assert {k: second[k] for k in first} == first
    assert told[-1] == ("stage", 3, 3, 2)
    content = Project(tmp_path).read()
    assert content["made_from"]["stage"] == list(second.values())
    assert (content["accounts"]["stage"]["items"], content["accounts"]["stage"]["reused"]) == (3, 2)


def test_a_stage_that_was_kept_keeps_its_account(tmp_path):
    chain = Chain(Project(tmp_path), 1)
    chain.one("stage", Settings(), ["x"], lambda: camera(1.0))
    before = Project(tmp_path).read()["accounts"]
    Chain(Project(tmp_path), 1).one("stage", Settings(), ["x"], lambda: camera(1.0))
    assert Project(tmp_path).read()["accounts"] == before


def test_names_are_added_not_replaced(tmp_path):
    chain = Chain(Project(tmp_path), 1)
    a, b = (chain.project.put(camera(x)) for x in (1.0, 2.0))
    chain.name(cameras=a)
    chain.name(mesh=b)
    assert chain.project.read()["names"] == {"cameras": a, "mesh": b}


def test_the_cache_makes_a_value_once_and_forgets_the_oldest():
    made = []

    def make(key):
        made.append(key)
        return key.upper()

    cache = Cache(make, 2)
    assert [cache(k) for k in "aabac"] == ["A", "A", "B", "A", "C"]
    assert made == ["a", "b", "c"]
    cache("b")
    assert made == ["a", "b", "c", "b"]


def test_a_cache_that_was_cleared_makes_its_values_again():
    made = []
    cache = Cache(lambda key: made.append(key) or key.upper(), 2)
    assert (cache("a"), cache("a")) == ("A", "A")
    cache.clear()
    assert cache("a") == "A"
    assert made == ["a", "a"]
