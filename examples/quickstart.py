"""lbench from Python, in one screen. Each block can be a cell of a notebook."""

import torch

import lbench

# What is there
print(lbench.rules().frame()[["name", "title"]].head())

# Train two rules with three seeds each; what is trained already is only reported
bp = lbench.run("bp", "digits", seeds=3, epochs=5)
lfnn = lbench.run("lfnn_l", "digits", seeds=3, epochs=5, leadership=0.5)
print(lfnn.table())

# Compare them, paired over seeds and over test examples
print(lbench.compare(bp, lfnn).differences())
lbench.compare(bp, lfnn).plot().savefig("errors.png")

# Everything in this home, as data frames
results = lbench.results()
print(results.runs.groupby("rule")["test_error"].mean())
print(results.epochs.groupby(["cell", "epoch"])["val_error"].mean())

# A trained network as a plain module: raw images in, logits out
model = lbench.load(lfnn, seed=0)
print(model(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).argmax(1))
