"""The model: the letters before, embedded, one hidden layer, a score for each letter that could come."""

import json
import pathlib

import torch

# What a replay repeats has to be asked for, not hoped for.
torch.use_deterministic_algorithms(True)


class NextLetter(torch.nn.Module):
    def __init__(self, letters, context, width):
        super().__init__()
        self.embed = torch.nn.Embedding(letters, 16)
        self.hidden = torch.nn.Linear(16 * context, width)
        self.output = torch.nn.Linear(width, letters)

    def forward(self, before):
        return self.output(torch.tanh(self.hidden(self.embed(before).flatten(1))))


def load(path):
    """The model, and the letters that it knows in the order of its scores."""
    about = json.loads((pathlib.Path(path).parent / "letters.json").read_text())
    model = NextLetter(len(about["letters"]), about["context"], about["width"])
    model.load_state_dict(torch.load(path))
    return model.eval(), about


def examples(text, letters, context):
    """For each letter of the text that has enough before it: what stands before, and the letter."""
    codes = torch.tensor([letters.index(letter) for letter in text])
    return codes.unfold(0, context + 1, 1)[:, :-1], codes[context:]
