"""The page's way to three hosts and a fourth, typed as it stands; the unit that it hands out."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dkv.errors import Ending
from tests.chaos.enclosure import command, why_not
from tests.real.hosts import ROOT
from tests.real.unit import read_unit

UNIT = ROOT / "docs" / "systemd" / "dkv@.service"


@pytest.mark.skipif("DKV_LONG" not in os.environ, reason="make test-long: it takes a minute")
def test_the_page_is_followed_word_by_word_on_four_hosts(tmp_path: Path) -> None:
    if why_not():
        pytest.skip(why_not())
    if shutil.which("setpriv") is None or shutil.which("useradd") is None:
        pytest.skip("hosts need setpriv and useradd (packages util-linux, passwd)")
    line = command("tests.real.hosts", str(tmp_path))
    done = subprocess.run(line, capture_output=True, text=True, timeout=240, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "n4 is a voter" in done.stderr
    assert "4 of 4 voters are up" in done.stdout
    assert "Sound: a node would start on it" in done.stdout


def test_the_unit_starts_again_only_after_what_may_pass_by_itself() -> None:
    service = read_unit(UNIT)
    kept_down = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert service["Restart"] == "on-failure"
    assert {*map(int, Ending), 2} - kept_down == {Ending.PORT_TAKEN, Ending.DISK_UNWRITABLE}


def test_systemd_understands_the_unit_and_finds_it_well_fenced(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("the unit is checked by systemd-analyze (package systemd)")
    unit = tmp_path / "dkv@n1.service"
    unit.write_text(UNIT.read_text().replace("/opt/dkv/bin/dkv", "/bin/true"))
    said = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    words = ["systemd-analyze", "security", "--offline=true", str(unit)]
    judged = subprocess.run(words, capture_output=True, text=True).stdout
    found = re.search(r"exposure level for \S+: ([0-9.]+)", judged)
    assert found, judged
    assert float(found[1]) <= 2.0
