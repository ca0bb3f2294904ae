"""Training: one function, `fit`, for every method that learns. It knows what a Trainable is, and no method."""

from firstsight.training.fit import fit as fit
from firstsight.training.recipe import Recipe as Recipe
from firstsight.training.trainable import Trainable as Trainable
