"""A tiny random AudioLDM2: all parts of the pipeline, the VAE and the vocoder of `tiny`."""

from __future__ import annotations

import string
from pathlib import Path

import torch
import transformers as hf
from diffusers import (
    AudioLDM2Pipeline,
    AudioLDM2ProjectionModel,
    AudioLDM2UNet2DConditionModel,
    AutoencoderKL,
    DDIMScheduler,
)
from tokenizers.pre_tokenizers import ByteLevel

from vaerecon.models.sources import resolve

WIDTH = 16  # of the embeddings of all text models


def save_tiny_audioldm2(folder: Path) -> None:
    """Write the folder of a pipeline, as `AudioLDM2Pipeline.from_pretrained` reads it."""
    torch.manual_seed(0)
    tiny = resolve("tiny").folder
    layers = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2}
    clap = hf.ClapConfig(
        text_config=layers | {"vocab_size": 300, "intermediate_size": WIDTH},
        audio_config={
            "spec_size": 64, "num_mel_bins": 64, "window_size": 4, "patch_embeds_hidden_size": 8,
            "depths": [1], "num_attention_heads": [2], "hidden_size": 8,
            "patch_size": 2, "patch_stride": 2,
        },
        projection_dim=WIDTH,
    )  # fmt: skip
    t5 = hf.T5Config(vocab_size=99, d_model=WIDTH, d_ff=WIDTH, d_kv=8, num_heads=2, num_layers=1)
    gpt2 = hf.GPT2Config(n_embd=WIDTH, n_head=2, n_layer=1, vocab_size=9, max_new_tokens=8,
                          bos_token_id=0, eos_token_id=0)  # fmt: skip
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    characters = {text: i for i, text in enumerate(special + sorted(ByteLevel.alphabet()))}
    letters = [(text, 0.0) for text in ["<pad>", "</s>", "<unk>"]]
    letters += [(text, -2.0) for text in "\u2581" + string.ascii_letters + ","]
    AudioLDM2Pipeline(
        vae=AutoencoderKL.from_pretrained(tiny / "vae"),
        vocoder=hf.SpeechT5HifiGan.from_pretrained(tiny / "vocoder"),
        text_encoder=hf.ClapModel(clap),
        text_encoder_2=hf.T5EncoderModel(t5),
        projection_model=AudioLDM2ProjectionModel(WIDTH, WIDTH, WIDTH),
        language_model=hf.GPT2LMHeadModel(gpt2),
        tokenizer=hf.RobertaTokenizer(characters, [], model_max_length=77),
        tokenizer_2=hf.T5Tokenizer(letters, extra_ids=0, model_max_length=77),
        feature_extractor=hf.ClapFeatureExtractor(),
        unet=AudioLDM2UNet2DConditionModel(
            in_channels=8, out_channels=8, layers_per_block=1, norm_num_groups=8,
            block_out_channels=(16, 32), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=8,
            cross_attention_dim=([None, WIDTH, WIDTH], [None, WIDTH, WIDTH]),
        ),
        scheduler=DDIMScheduler(
            beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear",
            clip_sample=False, set_alpha_to_one=False, steps_offset=1,
        ),
    ).save_pretrained(folder)  # fmt: skip
