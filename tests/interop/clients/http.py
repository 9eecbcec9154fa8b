"""What clients do before and around their transfers, by hand: challenge, Basic, token flow, resume with curl."""

import base64
import hashlib
import json
import re
import urllib.error
import urllib.parse
import urllib.request

import servers
from harness import IMMUTABLE, Client, CheckFailed, contains, same, sealstone_only


class Http(Client):
    name = "http"
    tools = ("curl",)

    def ask(self, method, path, headers=None, body=None):
        request = urllib.request.Request(self.server.url + path, data=body, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def signed(self, **headers):
        return {"Authorization": self.server.basic(), **headers}

    def check_challenge_without_login(self):
        status, headers, body = self.ask("GET", "/v2/")
        same(status, 401, "GET /v2/ without login")
        if not re.match(r'(Bearer|Basic) realm="[^"]+"', headers.get("WWW-Authenticate", "")):
            raise CheckFailed(f"no usable challenge: {headers.get('WWW-Authenticate')!r}")
        contains([error["code"] for error in json.loads(body)["errors"]], "UNAUTHORIZED", "error codes")

    def check_basic_login(self):
        status, headers, _ = self.ask("GET", "/v2/", self.signed())
        same(status, 200, "GET /v2/ with Basic")
        same(headers.get("Docker-Distribution-Api-Version"), "registry/2.0", "Docker-Distribution-Api-Version")

    def check_wrong_password_is_refused(self):
        wrong = "Basic " + base64.b64encode(f"{servers.USER}:wrong".encode()).decode()
        same(self.ask("GET", "/v2/", {"Authorization": wrong})[0], 401, "GET /v2/ with a wrong password")

    @sealstone_only
    def check_token_flow(self):
        repository = self.repository()
        _, headers, _ = self.ask("GET", "/v2/")
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', headers["WWW-Authenticate"]))
        query = urllib.parse.urlencode({"service": challenge["service"], "scope": f"repository:{repository}:pull,push"})
        path = challenge["realm"].removeprefix(self.server.url)
        status, _, body = self.ask("GET", f"{path}?{query}", self.signed())
        same(status, 200, "token endpoint")
        answer = json.loads(body)
        same(answer["token"], answer["access_token"], "access_token")
        bearer = {"Authorization": f"Bearer {answer['token']}"}
        same(self.ask("POST", f"/v2/{repository}/blobs/uploads/", bearer, b"")[0], 202, "upload with the token")
        other = self.ask("POST", f"/v2/{self.repository(name='other')}/blobs/uploads/", bearer, b"")
        contains((401, 403), other[0], "upload to another repository with the token")
        same(self.ask("GET", "/v2/", {"Authorization": "Bearer " + answer["token"][:-4] + "AAAA"})[0], 401, "a token with a broken signature")

    def push_blob(self, repository, content):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        status, headers, _ = self.ask("POST", f"/v2/{repository}/blobs/uploads/", self.signed(), b"")
        same(status, 202, "start of an upload")
        location = headers["Location"].removeprefix(self.server.url)
        separator = "&" if "?" in location else "?"
        status, _, body = self.ask("PUT", f"{location}{separator}digest={digest}", self.signed(**{"Content-Type": "application/octet-stream"}), content)
        same(status, 201, f"end of an upload ({body[:200]!r})")
        return digest

    def push_manifest(self, repository, tag, layer):
        config = self.push_blob(repository, b"{}")
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
                "layers": [{"mediaType": "application/octet-stream", "digest": self.push_blob(repository, layer), "size": len(layer)}],
            }
        ).encode()
        headers = self.signed(**{"Content-Type": "application/vnd.oci.image.manifest.v1+json"})
        return self.ask("PUT", f"/v2/{repository}/manifests/{tag}", headers, manifest)

    def check_curl_resumes_a_pull(self):
        content = bytes(range(256)) * 8192
        digest = self.push_blob(self.repository(), content)
        part = self.home / "part"
        part.write_bytes(content[:1_000_000])
        url = f"{self.server.url}/v2/{self.repository()}/blobs/{digest}"
        self.run("curl", "-sSf", "-u", f"{servers.USER}:{servers.PASSWORD}", "-C", "-", "-o", part, url)
        same(hashlib.sha256(part.read_bytes()).hexdigest(), digest.removeprefix("sha256:"), "the resumed file")

    def check_readers_need_a_login(self):
        same(self.ask("GET", f"/v2/{self.repository()}/tags/list")[0], 401, "tag list without login")

    @sealstone_only
    def check_an_immutable_tag_stays(self):
        repository = self.repository(IMMUTABLE)
        status, _, body = self.push_manifest(repository, "v1", b"first")
        same(status, 201, f"first push ({body[:300]!r})")
        same(self.push_manifest(repository, "v1", b"first")[0], 201, "the same digest again")
        status, _, body = self.push_manifest(repository, "v1", b"second")
        same(status, 409, "another digest")
        error = json.loads(body)["errors"][0]
        same(error["code"], "DENIED", "error code")
        same(error["detail"]["reason"], "tag_immutable", "reason")
        contains(error["message"].lower(), "immutable", "message")

    @sealstone_only
    def check_a_deleted_immutable_tag_is_never_reused(self):
        repository = self.repository(IMMUTABLE, "gone")
        same(self.push_manifest(repository, "v1", b"first")[0], 201, "first push")
        same(self.ask("DELETE", f"/v2/{repository}/manifests/v1", self.signed())[0], 202, "delete of the tag")
        same(self.ask("GET", f"/v2/{repository}/manifests/v1", self.signed())[0], 404, "the deleted tag")
        for layer in (b"first", b"second"):
            status, _, body = self.push_manifest(repository, "v1", layer)
            same(status, 409, "push to the deleted tag")
            same(json.loads(body)["errors"][0]["detail"]["reason"], "tag_tombstoned", "reason")
