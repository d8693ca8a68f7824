"""Numbers that pages print are those that come of running them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / 'docs' / 'howto' / 'bring_your_data.md'


@pytest.mark.usefixtures('aiida_profile')
def test_the_report_of_a_merge_is_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r'<!-- runnable -->\n```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
    last = next(number for number, block in enumerate(blocks) if 'print(report.get_dict())' in block)
    names: dict[str, object] = {}
    exec('\n'.join(blocks[: last + 1]), names)  # noqa: S102 - a page of our own
    (sentence,) = re.findall(r'The report says (.*?)\.\n', PAGE.read_text())
    said = {name: int(number) for name, number in re.findall(r'`(\w+)` (\d+)', sentence)}
    assert len(said) == 4
    assert {name: names['report'][name] for name in said} == said
