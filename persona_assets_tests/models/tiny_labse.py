"""Builds a model with LaBSE's architecture and random weights, in seconds and without a download."""

from pathlib import Path

from persona_assets.generation.packs import load_pack
from persona_assets.languages import languages


def build(folder: Path) -> Path:
    """Save the model to `folder`, from where the production code path loads it."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    texts = [load_pack(code).text_to_persona.system for code in languages()]
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=2000, special_tokens=special))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    bert = BertModel(
        BertConfig(
            vocab_size=len(fast),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
            # Wide enough that different texts get different rows.
            initializer_range=1.0,
        )
    )
    parts = folder / "bert"
    bert.save_pretrained(parts)
    fast.save_pretrained(parts)
    encoder = Transformer(str(parts), max_seq_length=128)
    dense = Dense(in_features=32, out_features=32, activation_function=torch.nn.Tanh())
    model = SentenceTransformer(modules=[encoder, Pooling(32, pooling_mode="cls"), dense, Normalize()])
    saved = folder / "model"
    model.save(str(saved))
    return saved
