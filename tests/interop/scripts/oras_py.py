"""One operation of oras-py, run by its own interpreter: HOST USER PASSWORD BACKEND OPERATION ARGUMENTS."""

import sys

import oras.client

host, user, password, backend, operation, target, *rest = sys.argv[1:]
client = oras.client.OrasClient(hostname=host, insecure=True, tls_verify=False, auth_backend=backend)
if backend == "basic":
    client.auth.set_basic_auth(user, password)
else:
    client.login(username=user, password=password, hostname=host, tls_verify=False)

if operation == "push":
    answer = client.push(target=target, files=rest, quiet=True)
    print(answer.status_code)
elif operation == "push-chunked":
    answer = client.push(target=target, files=rest, do_chunked=True, chunk_size=1 << 20, quiet=True)
    print(answer.status_code)
elif operation == "pull":
    print(client.pull(target=target, outdir=rest[0]))
elif operation == "tags":
    print(*client.get_tags(target))
elif operation == "delete":
    print(client.delete_tag(target.rpartition(":")[0], rest[0]))
else:
    sys.exit(f"unknown operation {operation}")
