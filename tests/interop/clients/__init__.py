"""The clients, one module each, in the order in which they run."""

from .http import Http
from .skopeo import Skopeo
from .podman import Podman
from .oras_py import OrasPy
from .oras import Oras
from .crane import Crane
from .regctl import Regctl
from .helm import Helm
from .cosign import Cosign
from .containerd import Containerd
from .sealstone import Sealstone
from .carried import Carried
from .cosign_verify import CosignVerify
from .model_signing import ModelSigning
from .sigstore_js import SigstoreJs
from .securesystemslib import Securesystemslib
from .schemas import Schemas
from .modctl import Modctl

ALL = [
    Http,
    Skopeo,
    Podman,
    OrasPy,
    Oras,
    Crane,
    Regctl,
    Helm,
    Cosign,
    Containerd,
    Sealstone,
    Carried,
    CosignVerify,
    ModelSigning,
    SigstoreJs,
    Securesystemslib,
    Schemas,
    Modctl,
]
