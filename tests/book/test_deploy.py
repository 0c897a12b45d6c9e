"""The page's OpenVINO example, where OpenVINO is installed; the others run with every page's."""

import importlib.util
import re

import pytest

from tests.book.test_pages import ROOT

BLOCK = re.compile(r"^```(python|py)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
)
def test_openvino_gives_the_models_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall((ROOT / "docs/guides/deploy.md").read_text())
    assert [fence for fence, _ in blocks[:2]] == ["python", "py"]
    namespace = {"__name__": "__main__"}
    for _, source in blocks[:2]:
        exec(compile(source, "deploy.md", "exec"), namespace)
    assert namespace["answer"].shape == (7, 10)
