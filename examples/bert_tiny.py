"""A small BERT from transformers, randomly initialised: nothing is downloaded.

    fwprof profile --model examples/bert_tiny.py:make --plugin torch

The batches are dicts of keyword arguments, and the model returns its own `.loss`, so the factory
gives none.
"""

import torch
from transformers import BertConfig, BertForSequenceClassification


def make(layers: int = 2, hidden: int = 64, batch_size: int = 8, length: int = 32) -> dict[str, object]:
    """Return model, optimizer and batches of random token ids."""
    config = BertConfig(
        vocab_size=1000,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=4 * hidden,
        max_position_embeddings=length,
        num_labels=2,
    )
    model = BertForSequenceClassification(config)
    batches = [
        {
            "input_ids": torch.randint(0, config.vocab_size, (batch_size, length)),
            "attention_mask": torch.ones(batch_size, length, dtype=torch.int64),
            "labels": torch.randint(0, config.num_labels, (batch_size,)),
        }
        for _ in range(8)
    ]
    return {
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters(), lr=1e-3),
        "batches": batches,
    }
