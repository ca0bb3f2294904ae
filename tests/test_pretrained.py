"""A trained method is looked for where it is said to be; the network is asked only where the name says so."""

import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from firstsight import pretrained
from firstsight.commands.work import evaluate, export
from firstsight.errors import InputError
from firstsight.perceive.plan import check_use


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[list[str]]:
    """What a stand-in for the hub, which has nothing, was asked for."""
    hub = pytest.importorskip("huggingface_hub", reason="the hub is an extra: pip install 'firstsight[hub]'")
    paths: list[str] = []

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Empty)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    real = hub.snapshot_download
    here = {"endpoint": endpoint, "cache_dir": tmp_path / "hub"}
    monkeypatch.setattr(hub, "snapshot_download", lambda *names, **settings: real(*names, **settings, **here))
    yield paths
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_only_a_name_of_the_hub_leads_to_a_question_to_it(asked, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for attempt in (
        lambda: pretrained.load("runs/dino"),
        lambda: export.export("runs/dino", tmp_path / "out"),
        lambda: evaluate.evaluate("runs/dino", "sim:street"),
        lambda: check_use(("runs/dino",)),
    ):
        with pytest.raises(InputError, match="runs/dino: no such f"):
            attempt()
    assert asked == []
    with pytest.raises(InputError, match="hf:runs/dino: the hub did not give it"):
        pretrained.load("hf:runs/dino")
    assert len(asked) >= 1
    assert asked[0].startswith("/api/models/runs/dino/")


def test_a_folder_that_holds_none_and_a_training_that_goes_on_are_one_line(tmp_path: Path):
    with pytest.raises(InputError, match="no trained method in it"):
        pretrained.find(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="training unfinished; resume with `firstsight train` and the same --out"):
        pretrained.find(tmp_path)
    with pytest.raises(InputError, match=r"absent: no such folder; give the folder of a training \(its --out\)$"):
        pretrained.find(tmp_path / "absent")
