"""The word-level tokenizer of the scene model, made in code: no file, no training."""

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from vismodels.synthetic.scene_captions import caption_words

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unknown>"
# In no caption, so never trained: for prompts like "... without an orange star".
UNTRAINED = ("but", "never", "no", "not", "without")


def build_tokenizer(length: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of the words of captions, of commas and of a few negations.

    Args:
        length: tokens of a padded or truncated text, start and end included.
    """
    tokens = [PAD, START, END, UNKNOWN, *sorted({*caption_words(), *UNTRAINED})]
    numbers = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordLevel(numbers, unk_token=UNKNOWN))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(START, numbers[START]), (END, numbers[END])],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=length,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
    )
