"""A stand-in for the service of Weights & Biases on the loopback address, enough for sweeps."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

SWEEP, PROJECT, ENTITY = "abc12345", "demo", "tester"
PROJECT_FIELDS = {"id": "p", "name": PROJECT, "entity": {"id": "e", "name": ENTITY}}


class Service(ThreadingHTTPServer):
    """Remembers sweep, runs and files; gives every point to an agent in turn, then says exit."""

    daemon_threads = True

    def __init__(self, points) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.points, self.sweep = list(points), {}
        self.operations, self.runs, self.history, self.uploads = [], {}, {}, {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address) -> None:
        """A client that ends hangs up without a word; what is wrong otherwise, the test tells."""

    def answer(self, operation, values):
        """The ``data`` of GraphQL's answer."""
        self.operations.append(operation)
        known = getattr(self, f"_{operation}", None)
        return known(values) if known else {}

    def _Viewer(self, values):  # noqa: N802  # named like the operations
        teams = {"edges": [{"node": {"name": ENTITY}}]}
        return {"viewer": {"id": "v", "entity": ENTITY, "username": ENTITY, "flags": "{}",
                           "teams": teams}}  # fmt: skip

    def _UpsertSweep(self, values):  # noqa: N802
        self.sweep = yaml.safe_load(values["config"])
        sweep = {"name": SWEEP, "project": PROJECT_FIELDS}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def _SweepWithRuns(self, values):  # noqa: N802
        sweep = {"id": "s", "name": SWEEP, "state": "RUNNING", "config": yaml.safe_dump(self.sweep)}
        return {"project": {"sweep": {**sweep, "runs": {"edges": []}}}}

    def _CreateAgent(self, values):  # noqa: N802
        return {"createAgent": {"agent": {"id": "agent"}}}

    def _Heartbeat(self, values):  # noqa: N802
        command = {"type": "exit"}
        if json.loads(values["runState"]):
            return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": "[]"}}
        if self.points:
            arguments = {name: {"value": value} for name, value in self.points.pop(0).items()}
            command = {"type": "run", "run_id": f"run{len(self.points)}", "args": arguments,
                       "program": self.sweep["program"]}  # fmt: skip
        return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps([command])}}

    def _UpsertBucket(self, values):  # noqa: N802
        run = self.runs.setdefault(values["name"], {})
        run.update({key: value for key, value in values.items() if value is not None})
        bucket = {"id": values["name"], "name": values["name"], "displayName": values["name"],
                  "description": "", "config": values.get("config") or "{}", "sweepName": SWEEP,
                  "project": PROJECT_FIELDS, "historyLineCount": 0}  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def _RunResumeStatus(self, values):  # noqa: N802
        if not (rows := self.history.get(values["name"])):
            return {}
        last = json.dumps(rows[-1])
        counts = {"historyLineCount": len(rows), "eventsLineCount": 0, "logLineCount": 0}
        bucket = {"id": values["name"], "name": values["name"], "displayName": values["name"],
                  "config": "{}", "wandbConfig": json.dumps({"t": 1}), "tags": [],
                  "summaryMetrics": last, "historyTail": json.dumps([last]), "eventsTail": "[]",
                  **counts}  # fmt: skip
        return {"model": {"bucket": bucket}}

    def _CreateRunFiles(self, values):  # noqa: N802
        files = [
            {"name": name, "uploadUrl": f"{self.url}/put/{values['run']}/{name}"}
            for name in values["files"]
        ]
        return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}


class _Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = self._content()
        if self.path.endswith("/graphql"):
            asked = json.loads(content)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"]).group(1)
            self._reply({"data": self.server.answer(operation, asked.get("variables") or {})})
        elif stream := re.fullmatch(r"/files/.*/(\w+)/file_stream", self.path):
            rows = json.loads(content).get("files", {}).get("wandb-history.jsonl", {})
            kept = self.server.history.setdefault(stream.group(1), [])
            kept += [json.loads(row) for row in rows.get("content", [])]
            self._reply({"limits": {}})
        else:  # telemetry
            self._reply({})

    def do_PUT(self) -> None:
        self.server.uploads[self.path.removeprefix("/put/")] = self._content()
        self._reply({})

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _reply(self, content) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        pass


@contextmanager
def wandb_service(points) -> Iterator[Service]:
    """Serve on the loopback address for a while."""
    service = Service(points)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    try:
        yield service
    finally:
        service.shutdown()
        service.server_close()
