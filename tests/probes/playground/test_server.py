"""The server: whom it answers, and a whole round of one tab over its socket, without a browser."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from probes.errors import InputError
from probes.playground.opening import address_of, state_in
from probes.playground.server import MOST_TABS, application
from probes.playground.session import Session

PORT, TOKEN = 8765, "secret"
HOST = f"127.0.0.1:{PORT}"
OURS = {"host": HOST, "origin": f"http://{HOST}"}


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(application(TOKEN, PORT), base_url=f"http://{HOST}") as client:
        yield client


def ask(socket: WebSocketTestSession, do: str, value: Any = None) -> None:
    socket.send_text(json.dumps({"do": do} | ({} if value is None else {"value": value})))


def heard(socket: WebSocketTestSession, kind: str, tell: bool = True) -> dict[str, Any]:
    """The next of a kind; frames are acknowledged on the way, as a browser does."""
    while True:
        message = socket.receive()
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message["code"])
        if (content := message.get("bytes")) is not None:
            length = int.from_bytes(content[:4], "little")
            found = json.loads(content[4 : 4 + length]) | {"bytes": len(content) - 4 - length}
            if tell:
                ask(socket, "seen")
        else:
            found = json.loads(message["text"])
        if found["kind"] == kind:
            return found


def test_only_who_knows_the_link_finds_anything(client: TestClient) -> None:
    page = client.get(f"/{TOKEN}/")
    assert page.status_code == 200
    assert "How far may a network" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for part in ("playground.js", "maps.js", "readings.js", "playground.css"):
        assert client.get(f"/{TOKEN}/{part}").status_code == 200
    for path in (
        "/",
        "/other/",
        "/secret",
        f"/{TOKEN}/x",
        f"/{TOKEN}/../setup.py",
        f"/{TOKEN}/%2e%2e/setup.py",
    ):
        assert client.get(path, follow_redirects=False).status_code in (404, 307), path


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1:1"},
        {"host": HOST, "origin": "http://evil.example"},
        {"host": HOST, "origin": "null"},
    ],
)
def test_other_hosts_and_origins_are_not_answered(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get(f"/{TOKEN}/", headers=headers).status_code == 403
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"/{TOKEN}/live", headers=headers):
        pass


def test_a_socket_without_an_origin_or_the_token_is_not_answered(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(f"/{TOKEN}/live", headers={"host": HOST}),
    ):
        pass
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/other/live", headers=OURS):
        pass


def test_a_whole_round(client: TestClient) -> None:
    with client.websocket_connect(f"/{TOKEN}/live", headers=OURS) as socket:
        assert heard(socket, "setup")["setup"]["depth"] == 4
        assert len(heard(socket, "points")["points"]) == 200
        assert heard(socket, "frame")["steps"] == 0
        ask(socket, "setup", {"depth": 3, "width": 5})
        assert heard(socket, "setup")["setup"]["depth"] == 3
        frame = heard(socket, "frame")
        assert frame["neurons"] == [[5, 24, 24], [5, 24, 24]]
        assert frame["bytes"] == 100 * 100 + 2 * 5 * 24 * 24
        ask(socket, "speed", 10)
        ask(socket, "run")
        while (frame := heard(socket, "frame"))["steps"] < 50:
            assert frame["steps"] % 10 == 0
        ask(socket, "pause")
        while (frame := heard(socket, "frame"))["running"]:
            pass
        ask(socket, "perturb", {"percent": [10, 0, 0], "direction": "gradient"})
        found = heard(socket, "readings")
        assert found["relative"] == pytest.approx([0.1, 0, 0], abs=1e-6)
        assert heard(socket, "limits")["Lemma 2"] == pytest.approx(2 ** (1 / 3) - 1, rel=1e-6)
        ask(socket, "save")
        network, points = heard(socket, "file"), heard(socket, "file")
        assert (network["name"], points["name"]) == ("network.safetensors", "points.npz")
        ask(socket, "reset")
        while heard(socket, "frame")["steps"]:
            pass
        ask(socket, "load", network["content"])
        heard(socket, "setup")
        assert heard(socket, "frame")["loss"] == pytest.approx(frame["loss"], rel=1e-5)
        ask(socket, "go", 30)
        while heard(socket, "frame")["steps"] != 30:
            pass
        ask(socket, "csv", "x,y,l\n0,0,a\n1,1,b\n")
        assert heard(socket, "setup")["setup"]["data"] == "csv"
        assert len(heard(socket, "points")["points"]) == 2


def test_no_more_than_two_frames_are_under_way(client: TestClient) -> None:
    with client.websocket_connect(f"/{TOKEN}/live", headers=OURS) as socket:
        assert heard(socket, "frame", tell=False)["steps"] == 0
        ask(socket, "run")
        heard(socket, "frame", tell=False)
        ask(socket, "run", 1)  # a fault is answered; no frame comes before it, nor after it
        assert "no value" in heard(socket, "error")["text"]
        ask(socket, "seen")
        assert heard(socket, "frame", tell=False)["running"]


def test_bad_messages_leave_the_tab_as_it_was(client: TestClient) -> None:
    with client.websocket_connect(f"/{TOKEN}/live", headers=OURS) as socket:
        heard(socket, "frame")
        socket.send_text("{")
        assert "no JSON" in heard(socket, "error")["text"]
        socket.send_bytes(b"\xff")
        assert "no JSON" in heard(socket, "error")["text"]
        ask(socket, "csv", "1,2,a\nx,y,b\n")
        assert "row 2" in heard(socket, "error")["text"]
        ask(socket, "setup", {"data": "csv"})
        assert "choose a CSV" in heard(socket, "error")["text"]
        ask(socket, "load", base64.b64encode(b"nothing").decode())
        assert "checkpoint" in heard(socket, "error")["text"]
        ask(socket, "perturb", {"percent": [1]})
        assert "4 layers, not 1" in heard(socket, "error")["text"]
        ask(socket, "step")
        assert heard(socket, "frame")["steps"] >= 0
        ask(socket, "setup", {"rule": "sgd", "lr": 10, "activation": "identity", "depth": 6})
        heard(socket, "setup")
        ask(socket, "speed", 50)
        ask(socket, "run")
        assert "no numbers any more" in heard(socket, "error")["text"]
        ask(socket, "reset")
        assert heard(socket, "setup")["setup"]["depth"] == 6


def test_a_tab_closed_in_mid_training_trains_no_more(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(threading.enumerate())
    steps: list[int] = []
    real = Session.train
    monkeypatch.setattr(Session, "train", lambda self, count: (steps.append(count), real(self, count))[1])
    with client.websocket_connect(f"/{TOKEN}/live", headers=OURS) as socket:
        ask(socket, "run")
        while heard(socket, "frame")["steps"] < 20:
            pass
    with client.websocket_connect(f"/{TOKEN}/live", headers=OURS) as socket:
        heard(socket, "limits")  # another tab is served, and trains nothing
        made = len(steps)
        ask(socket, "step")
        heard(socket, "frame")
        ask(socket, "run", 1)
        heard(socket, "error")
    assert len(steps) == made + 1
    assert set(threading.enumerate()) - before <= {one for one in threading.enumerate() if one.daemon}


def test_tabs_are_apart_and_so_many_at_most(client: TestClient) -> None:
    sockets = []
    try:
        for _ in range(MOST_TABS):
            socket = client.websocket_connect(f"/{TOKEN}/live", headers=OURS)
            socket.__enter__()
            sockets.append(socket)
            heard(socket, "setup")
        ask(sockets[0], "setup", {"depth": 2})
        assert heard(sockets[0], "setup")["setup"]["depth"] == 2
        ask(sockets[1], "reset")
        assert heard(sockets[1], "setup")["setup"]["depth"] == 4
        with client.websocket_connect(f"/{TOKEN}/live", headers=OURS) as one_more:
            assert "close one" in heard(one_more, "error")["text"]
    finally:
        for socket in sockets:
            socket.__exit__(None, None, None)


def test_a_link_is_a_state_whatever_its_port() -> None:
    state = '{"setup":{"depth":2},"steps":10}'
    assert state_in(address_of(1, "a", state)) == state
    assert state_in(f"#{state}") == state
    for link in ("http://127.0.0.1:1/a/", "#[1]", "#{", "nothing"):
        with pytest.raises(InputError, match="copy it from the page whole"):
            state_in(link)
