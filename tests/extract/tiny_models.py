"""Randomly initialised models of a few thousand parameters with tokenizers of every kind, as real model folders."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from schemas.config import ModelConfig

VOCAB_SIZE = 64
N_LAYERS = 2
_SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_IDS = {"vocab_size": VOCAB_SIZE, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24, "n_positions": 48}
_COMMON = {**_SIZES, "max_position_embeddings": 48}

ARCHITECTURES: dict[str, dict[str, object]] = {
    "bert": _COMMON,
    "roberta": _COMMON,
    "mpnet": _COMMON,
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 48},
    "albert": {**_COMMON, "embedding_size": 8},
    "modernbert": {**_COMMON, "cls_token_id": 2, "sep_token_id": 3},
    "gpt2": _GPT,
    "gpt_neox": _COMMON,
    "llama": {**_COMMON, "num_key_value_heads": 1},
    "qwen2": {**_COMMON, "num_key_value_heads": 1},
    "qwen3": {**_COMMON, "num_key_value_heads": 1, "head_dim": 8},
    "gemma": {**_COMMON, "num_key_value_heads": 1, "head_dim": 8},
    "gemma2": {**_COMMON, "num_key_value_heads": 1, "head_dim": 8},
    "gemma3_text": {**_COMMON, "num_key_value_heads": 1, "head_dim": 8},
    "smollm3": {**_COMMON, "num_key_value_heads": 1},
    "opt": {**_COMMON, "ffn_dim": 24, "word_embed_proj_dim": 16},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "mixtral": {**_COMMON, "num_key_value_heads": 1, "num_local_experts": 2},
    "electra": {**_COMMON, "embedding_size": 16},
    "falcon": {**_SIZES, "ffn_hidden_size": 24, "multi_query": True, "parallel_attn": False},
    "phi3": {**_COMMON, "num_key_value_heads": 1},
    "gptj": {**_GPT, "rotary_dim": 4},
    "gpt_neo": {**_COMMON, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]},
}
_HALVES = {
    **{f"{half}_layers": 2 for half in ("encoder", "decoder")},
    **{f"{half}_attention_heads": 2 for half in ("encoder", "decoder")},
    **{f"{half}_ffn_dim": 24 for half in ("encoder", "decoder")},
}
_T5 = {"d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
ENCODER_DECODERS: dict[str, dict[str, object]] = {
    "t5": _T5,
    "mt5": {**_T5, "feed_forward_proj": "gated-gelu"},
    "bart": {"d_model": 16, **_HALVES, "max_position_embeddings": 48, "decoder_start_token_id": 3},
}
#: Further ones that take packed batches.
PACKED: dict[str, dict[str, object]] = {
    "xlm-roberta": _COMMON,
    "camembert": _COMMON,
    "mistral": {**_COMMON, "num_key_value_heads": 1, "sliding_window": None},
    "olmo": _COMMON,
    "phi": _COMMON,
}


def random_model(architecture: str, seed: int = 0, attention: str | None = None) -> torch.nn.Module:
    """A model with the default initialisation, scaled up so that layers differ visibly; ``attention``: how computed."""
    torch.manual_seed(seed)
    settings = {**ARCHITECTURES, **ENCODER_DECODERS, **PACKED}[architecture]
    config = AutoConfig.for_model(architecture, **{**_IDS, **settings})
    model = AutoModel.from_config(config, attn_implementation=attention).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
    return model


def save_model(folder: Path, architecture: str = "bert", tokenizer: str = "wordpiece", seed: int = 0) -> ModelConfig:
    """Write a model folder (safetensors, config, tokenizer) and return the config that names it."""
    random_model(architecture, seed).save_pretrained(folder)
    save_tokenizer(folder, tokenizer)
    return ModelConfig(name=str(folder), device="cpu")


def save_tokenizer(folder: Path, kind: str) -> None:
    backend = {"wordpiece": _wordpiece, "byte_level": _byte_level, "sentencepiece": _sentencepiece}[kind]()
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(folder)


def _wordpiece() -> Tokenizer:
    """Like BERT's: lower case, [CLS] … [SEP]; truncation and padding are set, as in some published tokenizer.json."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocab = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *letters[:12],
        *(f"##{c}" for c in letters),
        "the",
        "cat",
        "dog",
        "##og",
        ".",
        ",",
        "!",
    ]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocab)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=16, pad_id=0, pad_token="[PAD]")
    return tokenizer


def _byte_level() -> Tokenizer:
    """Like GPT-2's: bytes, a space belongs to the next word, no special tokens and no padding token."""
    alphabet = ["Ġ", *"abcdefghijklmnopqrstuvwxyz.,!TH", "Ã", "¯", "<|end|>"]
    merges = [("Ġ", "c"), ("Ġc", "a"), ("Ġca", "t"), ("t", "h"), ("th", "e")]
    vocab = {token: i for i, token in enumerate([*alphabet, *(a + b for a, b in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def _sentencepiece() -> Tokenizer:
    """Like Llama 2's: no pre-tokenizer, "▁" for spaces, <s> in front; its word ids are 0 everywhere."""
    entries = ["<unk>", "<s>", "</s>", "▁", *"abcdefghijklmnopqrstuvwxyz.,!TH"]
    merges = [("▁", "c"), ("▁c", "a"), ("▁ca", "t"), ("t", "h"), ("th", "e"), ("▁", "the")]
    vocab = {token: i for i, token in enumerate([*entries, *(a + b for a, b in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer
