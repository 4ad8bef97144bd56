"""A Hugging Face hub on loopback: enough of its protocol that its own client puts a folder there and fetches it."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Hub:
    """What is on the hub: by name whether it is private, by (name, branch) its commit, by commit its files."""

    address: str = ""
    private: dict[str, bool] = field(default_factory=dict)
    heads: dict[tuple[str, str], str] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refuses: bool = False
    asked: list[str] = field(default_factory=list)

    def commit(self, name: str, branch: str, files: dict[str, bytes]) -> str:
        named = json.dumps([name, branch, {k: hashlib.sha1(v).hexdigest() for k, v in sorted(files.items())}])
        sha = hashlib.sha1(named.encode()).hexdigest()
        self.files[sha], self.heads[name, branch] = files, sha
        return sha

    def on(self, name: str, branch: str = "main") -> dict[str, bytes]:
        return self.files[self.heads[name, branch]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        hub, parts = self.server.hub, urlsplit(self.path).path.strip("/").split("/")
        hub.asked.append(self.path)
        if hub.refuses:
            return self.say(401, {"error": "Invalid credentials"})
        name, kind, rest = "/".join(parts[2:4]), parts[4:5], parts[5:]
        if parts[2:3] == ["resolve"]:
            name, kind, rest = "/".join(parts[:2]), parts[2:3], parts[3:]
        sha = hub.heads.get((name, (rest or ["main"])[0]), (rest or ["main"])[0])
        files = hub.files.get(sha)
        if files is not None and kind == ["tree"]:
            return self.say(200, [{"type": "file", "path": path, "size": len(content), "oid": _oid(content)}
                                  for path, content in files.items()])
        if files is not None and kind == ["resolve"] and (content := files.get("/".join(rest[1:]))) is not None:
            return self.say(200, content, {"X-Repo-Commit": sha, "ETag": f'"{_oid(content)}"'})
        if files is not None and kind in ([], ["revision"]):
            return self.say(200, {"id": name, "sha": sha, "siblings": []})
        return self.say(404, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def do_POST(self):
        hub, parts = self.server.hub, urlsplit(self.path).path.strip("/").split("/")
        hub.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if hub.refuses:
            return self.say(401, {"error": "Invalid credentials"})
        if parts == ["api", "repos", "create"]:
            return self.create(hub, json.loads(body))
        if parts == ["api", "validate-yaml"]:
            return self.say(200, {"errors": [], "warnings": []})
        name, branch = "/".join(parts[2:4]), parts[5]
        if parts[4] == "branch":
            hub.commit(name, branch, dict(hub.on(name)))
            return self.say(200, {})
        if parts[4] == "preupload":
            return self.say(200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                                            for f in json.loads(body)["files"]]})
        files = dict(hub.on(name, branch))
        for entry in map(json.loads, body.splitlines()):
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "deletedFile":
                del files[entry["value"]["path"]]
        sha = hub.commit(name, branch, files)
        return self.say(200, {"commitOid": sha, "commitUrl": f"{hub.address}/{name}/commit/{sha}"})

    def create(self, hub: Hub, said: dict) -> None:
        name = f"{said['organization']}/{said['name']}"
        if name in hub.private:
            return self.say(409, {"error": "there already", "url": f"{hub.address}/{name}"})
        hub.private[name] = said.get("visibility") == "private"
        hub.commit(name, "main", {".gitattributes": b"*.safetensors filter=lfs\n", "notes.txt": b"by hand"})
        return self.say(200, {"url": f"{hub.address}/{name}"})

    def say(self, status: int, content, headers: dict | None = None) -> None:
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serving():
    """Give a hub that is served on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.hub
        finally:
            server.shutdown()
            thread.join()
