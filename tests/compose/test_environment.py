from __future__ import annotations

import pytest

from forge.base.errors import InterpolationError
from forge.compose.document import parse_document
from forge.compose.environment import read_variable
from forge.compose.interpolation import Evaluator

SECRETS = """
AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID AWS_SESSION_TOKEN HF_TOKEN HUGGING_FACE_HUB_TOKEN HUGGINGFACE_TOKEN WANDB_API_KEY
OPENAI_API_KEY ANTHROPIC_API_KEY GITHUB_TOKEN GH_TOKEN GITLAB_TOKEN CI_JOB_TOKEN NPM_TOKEN PYPI_TOKEN TWINE_PASSWORD
DATABASE_URL DATABASE_PASSWORD PGPASSWORD MYSQL_PWD REDIS_URL SSH_AUTH_SOCK SSH_PRIVATE_KEY GPG_PASSPHRASE
GOOGLE_APPLICATION_CREDENTIALS AZURE_CLIENT_SECRET KUBECONFIG DOCKER_PASSWORD NETRC COMET_API_KEY NEPTUNE_API_TOKEN
MLFLOW_TRACKING_PASSWORD SLACK_WEBHOOK_URL SENTRY_DSN STRIPE_SECRET_KEY JWT_SECRET COOKIE SESSION_SECRET ENCRYPTION_KEY
FORGE_API_KEY FORGE_HUB_TOKEN FORGE_PASSWORD FORGE_SECRET SLURM_ACCESS_TOKEN PET_SECRET_KEY XDG_AUTH_TOKEN SKYPILOT_API_KEY
NCCL_PRIVATE_KEY TORCHELASTIC_CREDENTIALS GLOO_PASSPHRASE FORGE_WANDB_TOKEN FORGE_GITHUB_TOKEN
FORGE_TOKEN FORGE_KEY SLURM_JWT SLURM_TOKEN FORGE_AUTH
PATH LD_PRELOAD LD_LIBRARY_PATH PYTHONPATH PYTHONSTARTUP SHELL SUDO_COMMAND PROMPT_COMMAND
""".split()  # noqa: SIM905 - a list of names reads best as words
ALLOWED = """
HOME USER LOGNAME HOSTNAME PWD TMPDIR RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT NODE_RANK
CUDA_VISIBLE_DEVICES OMP_NUM_THREADS SLURM_JOB_ID SLURM_PROCID FORGE_RUNS XDG_CACHE_HOME HF_HOME HF_HUB_CACHE DATA_DIR
MODELS_DIR OUTPUT_DIR NCCL_DEBUG TORCHELASTIC_RUN_ID
""".split()  # noqa: SIM905 - as above


@pytest.mark.parametrize("name", SECRETS)
def test_a_variable_that_may_hold_a_secret_is_refused_whether_it_is_set_or_not(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("hunter2", None):
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(InterpolationError) as caught:
            read_variable(name)
        assert "hunter2" not in str(caught.value)
        assert name in str(caught.value)


@pytest.mark.parametrize("name", SECRETS[:10])
@pytest.mark.parametrize(
    "text",
    [
        "${oc.env:NAME}",
        "x${oc.env:NAME}",
        "${oc.env:NAME,default}",
        "${oc.env:'NAME'}",
        "${oc.env: NAME }",
        "${oc.env:${name}}",
        "${oc.decode:'${oc.env:NAME}'}",
        "${oc.decode:${oc.env:NAME}}",
        "${oc.create:[${oc.env:NAME}]}",
        "${oc.select:x,${oc.env:NAME}}",
    ],
)
def test_no_spelling_reaches_a_secret(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "hunter2")
    tree = parse_document(f"name: {name}\nx: null\n".encode(), "f", "project").tree
    with pytest.raises(InterpolationError) as caught:
        pytest.fail(str(Evaluator(tree).evaluate(text.replace("NAME", name), ("y",))))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ALLOWED)
def test_where_a_run_happens_may_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "here")
    assert read_variable(name) == "here"
    monkeypatch.delenv(name)
    assert read_variable(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        " HOME",
        "HOME ",
        "HOME\n",
        "home",
        "HOME\0",
        "HOMEX",
        "X_HOME",
        "MY_HOME",
        "A=B",
        "FORGE_",
        "SLURM_é",
        "FORGE_x",
    ],
)
def test_a_name_that_is_only_like_an_allowed_one_is_refused(name: str) -> None:
    with pytest.raises(InterpolationError):
        read_variable(name)


def test_a_slip_of_an_allowed_name_is_told() -> None:
    with pytest.raises(InterpolationError, match=r"did you mean 'USER'\?"):
        read_variable("USERR")
