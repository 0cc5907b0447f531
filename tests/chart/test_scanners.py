"""What scanners of other people say: checkov of the objects, hadolint of the Dockerfile.

Each finding that stands has its reason here; one that no longer comes up must go from the list.
"""

import json
import os
import subprocess

import pytest

from fixtures.chart import ROOT, TOOLS, Helm

STANDING = {
    "CKV_K8S_8": "the pod of `helm test` ends by itself: nothing to keep alive",
    "CKV_K8S_9": "the pod of `helm test` serves nobody: nothing to be ready for",
    "CKV_K8S_11": "a CPU limit only slows installs down; requests share the CPU fairly",
    "CKV_K8S_15": "IfNotPresent with a version or a digest; Always asks the registry at every start",
    "CKV_K8S_25": "the init container of the agents needs CAP_CHOWN, and has nothing else",
    "CKV_K8S_35": "an operator chooses: proxy.secretEnv or proxy.files",
    "CKV_K8S_40": "locked-down leaves the user to the cluster; it is 10001 otherwise",
    "CKV_K8S_43": "the digest is the operator's: image.digest",
    "CKV2_K8S_6": "policies are the operator's (networkPolicy.enabled), and the pod of `helm test` has none",
}


@pytest.mark.timeout(300)  # a hundred packages to import
def test_checkov_finds_nothing_but_what_has_a_reason(helm4: Helm):
    for example in ("default", "full", "locked-down"):
        (helm4.room / f"{example}.yaml").write_text(helm4.template(example).stdout, "utf-8")

    done = subprocess.run(
        [TOOLS / "checkov" / "bin" / "checkov", "-d", helm4.room, "--framework", "kubernetes", "-o", "json",
         "--quiet", "--skip-download"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={"PATH": os.defpath, "HOME": str(helm4.room), "LOG_LEVEL": "ERROR"},
    )  # fmt: skip

    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 200
    found = {finding["check_id"]: finding["resource"] for finding in report["results"]["failed_checks"]}
    assert sorted(found) == sorted(STANDING), found


def test_hadolint_has_nothing_to_say_of_the_dockerfile():
    done = subprocess.run(
        [TOOLS / "checks" / "bin" / "hadolint", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "")
