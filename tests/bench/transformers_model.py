# SPDX-License-Identifier: Apache-2.0
"""A model folder as transformers loads it, plain or in bitsandbytes' NF4."""

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load(options):
    """options: model, dtype (of TYPES), quantise ("none" or "nf4", double quantised), device."""
    dtype = TYPES[options.dtype]
    if options.quantise == "none":
        return AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype).to(options.device)
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
    return AutoModelForCausalLM.from_pretrained(options.model, quantization_config=nf4, dtype=dtype, device_map=options.device)
