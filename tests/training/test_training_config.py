"""The configuration of a run: what is refused and how the message helps."""

from pathlib import Path

import pytest

from sidecar.errors import ConfigurationError
from training.config import ESTIMATORS, TrainingConfig, to_tree
from training.config_file import describe_training_config, load_training_config
from training.propensity.estimators import NAMES


def written(folder: Path, text: str) -> Path:
    path = folder / "train.toml"
    path.write_text(text)
    return path


def test_file_then_overrides(tmp_path):
    path = written(
        tmp_path, "seed = 3\n[reranker]\nlists_per_step = 8\n[reranker.mine]\ndepth = 50\n"
    )
    config = load_training_config(
        path,
        ["reranker.mine.depth=20", "bi_encoder.widths=128,64", "bi_encoder.base_shares=0,.5"],
    )
    assert (config.seed, config.reranker.lists_per_step, config.reranker.mine.depth) == (3, 8, 20)
    assert config.bi_encoder.base_shares == (0.0, 0.5)
    assert config.bi_encoder.widths == (128, 64)
    assert config.bi_encoder.loss == "info_nce"
    assert config.bi_encoder.mine == TrainingConfig().bi_encoder.mine


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[reranker]\nlearn_rate = 1.0", "did you mean 'learning_rate'"),
        ("[rerankers]\n", "did you mean 'reranker'"),
        ("[reranker.mines]\n", "did you mean 'mine'"),
        ("reranker = 3", "write [reranker]"),
        ("[reranker]\nepochs = 'many'", "reranker.epochs is 'many'"),
        ("[reranker]\nloss = 'info_nce'", "reranker.loss is 'info_nce'"),
        ("[reranker]\nloss = 'distillation'", "needs reranker.teacher"),
        ("[reranker]\nmethod = 'lorra'", "nearest: lora"),
        ("[reranker.mine]\nhard_share = 1.0", "the three shares make 1.5"),
        ("[collect]\ntest_share = 0.95", "give less than 1"),
        ("[publish]\nto = 'nowhere'", "publish.to"),
        ("[collect]\nfeedback = 3", "give a list"),
        ("[bi_encoder]\nlearning_rate = -0.5", "must be more than 0, or -1"),
        ("[bi_encoder]\nlearning_rate = nan", "bi_encoder.learning_rate is nan"),
        ("[reranker]\nepochs = 0", "reranker.epochs must be more than 0"),
        ("[evaluate]\nmeasures = ['foo']", "measure 'foo' is not known"),
        ("[gate]\nalpha = 7", "gate.alpha is 7"),
        ("[propensity]\nestimator = 'file'", "give propensity.file"),
    ],
)
def test_what_is_refused(tmp_path, text, told):
    with pytest.raises(ConfigurationError) as refused:
        load_training_config(written(tmp_path, text))
    assert told in refused.value.message


def test_an_override_without_a_value_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="write section"):
        load_training_config(written(tmp_path, ""), ["reranker.epochs"])


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("judgments=a,b", ("a", "b")),
        ('judgments=["a,b", "c"]', ("a,b", "c")),
        ("judgments=['a']", ("a",)),
        ("judgments=[a, b]", ("a", "b")),  # the shell took the quotes
        ("judgments=[]", ()),
        ("judgments=", ()),
        ("judgments=set:[1],b", ("set:[1]", "b")),
    ],
)
def test_lists_on_the_command_line(tmp_path, override, wanted):
    path = written(tmp_path, "")
    assert load_training_config(path, [f"collect.{override}"]).collect.judgments == wanted


def test_numbers_in_brackets(tmp_path):
    given = ["bi_encoder.widths=[128, 64]", "bi_encoder.base_shares=[0, .5]"]
    config = load_training_config(written(tmp_path, ""), given).bi_encoder
    assert (config.widths, config.base_shares) == ((128, 64), (0.0, 0.5))


@pytest.mark.parametrize("value", ['["a", "b]', "[[1], [2]]", "['x']"])
def test_lists_that_are_none(tmp_path, value):
    with pytest.raises(ConfigurationError, match=r"bi_encoder\.widths"):
        load_training_config(written(tmp_path, ""), [f"bi_encoder.widths={value}"])


def test_every_setting_is_described():
    described = {name for name, _, doc in describe_training_config() if doc}
    assert "MODEL.mine.depth" in described

    def leaves(tree, name=""):
        for key, value in tree.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{name}{key}.")
            else:
                yield f"{name}{key}"

    names = {
        name.replace("bi_encoder.", "MODEL.", 1)
        for name in leaves(to_tree(TrainingConfig()))
        if not name.startswith("reranker.") and not name.startswith("publish")
    }
    assert names <= described


def test_the_estimators_are_those_that_there_are():
    assert set(ESTIMATORS) == {*NAMES, "auto"}
