"""Training: `fit` for every method that learns, `fit_rounds` for those that are trained in several rounds.

They know what a Trainable is, and no method.
"""

from firstsight.training.fit import fit as fit
from firstsight.training.recipe import Recipe as Recipe
from firstsight.training.rounds import fit_rounds as fit_rounds
from firstsight.training.trainable import Trainable as Trainable
