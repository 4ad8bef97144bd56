"""How a router travels: saved to a folder that opens by itself, put on the Hugging Face hub, fetched from there."""

import os
import re
import shutil
from pathlib import Path

from racer.card import model_card
from racer.errors import ConfigError

NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")  # of a router on the hub: OWNER/NAME
ROUTER = "router"  # the folder of weights, tokenizer and settings
BESIDE = ("calibration.json", "certificate.json", "report.json")  # what goes with it, where there is such
CARD = "README.md"


def located(run: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a run: `run` itself, or, where there is none and it is a name OWNER/NAME, what the hub has.

    `revision` is a branch, tag or commit on the hub. What was fetched before is found again without a network. Raises
    `ConfigError` if there is no such folder and the hub gives none.
    """
    if Path(run).exists():
        return Path(run)
    if not NAME.fullmatch(str(run)):
        raise ConfigError(f"no router in {run}: no such folder, and no name on the Hugging Face hub, which is "
                          "OWNER/NAME; give the folder of a run, or train one: python scripts/train.py run_dir=DIR")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(run), revision=revision, allow_patterns=[f"{ROUTER}/*", *BESIDE]))
    except Exception as error:  # the hub client raises a dozen types: offline, unknown name, no rights
        raise ConfigError(f"no router in {run}: no such folder, and the Hugging Face hub gave none "
                          f"({_reason(error)}); check the path or the name, and that you may read it "
                          "(`hf auth login`)") from error


def saved(run: Path, folder: Path, name: str) -> Path:
    """Copy the router of `run`, with what goes with it and a model card, to `folder`, which must be new; return it.

    Files are copied as they are, so that fingerprints stay true. The card tells how to load it as `name`.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already: give a folder that is new or empty")
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    partial = Path(f"{folder}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(run / ROUTER, partial / ROUTER)
    for file in BESIDE:
        if (run / file).is_file():
            shutil.copyfile(run / file, partial / file)
    (partial / CARD).write_text(model_card(partial, name), encoding="utf-8")
    os.replace(partial, folder)
    return folder


def upload(folder: Path, name: str, private: bool, revision: str | None, message: str) -> str:
    """Put a saved router on the hub as OWNER/NAME, in place of the one that was there; return its address.

    A repository that is not there yet is made, `private` or not; other files in it stay. Raises `ConfigError` if the
    hub takes none.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"repo={name} is no name on the Hugging Face hub: expected OWNER/NAME")
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        return api.upload_folder(repo_id=name, folder_path=folder, revision=revision, commit_message=message,
                                 delete_patterns=[f"{ROUTER}/*", *BESIDE]).commit_url
    except Exception as error:  # as above
        raise ConfigError(f"the Hugging Face hub did not take {name} ({_reason(error)}): check the name and that you "
                          "may write there (`hf auth login`), or write it to a folder with folder=DIR") from error


def _reason(error: Exception) -> str:
    said = str(error).strip().split("\n", 1)[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
