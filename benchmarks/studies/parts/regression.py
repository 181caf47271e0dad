"""Support vector regression from graph embeddings to a property (DeepNets paper, sections 5.2 and C.2.3)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from benchmarks.core.rank_correlation import kendall
from deepnets.utils.errors import InputError

Floats = NDArray[np.float64]

GRID: dict[str, list[Any]] = {
    "regressor__C": [1, 10, 50, 100, 200, 500, 1000],
    "regressor__gamma": ["auto", 0.05, 0.1, 0.2, 0.5],
    "regressor__epsilon": [0.05, 0.1, 0.2],
}
"""The values of the published experiment (facebookresearch/ppuda, MIT license); the paper names C, gamma, epsilon."""

FOLDS = 5


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted regression, and how well it ranks networks that it was not fitted to.

    Args:
        parameters: chosen by cross-validation.
        predicted: (m,) values of the test networks.
        tau: Kendall's tau-b of predicted and true values.
    """

    parameters: dict[str, Any]
    predicted: Floats
    tau: float


def _regression(**parameters: Any) -> TransformedTargetRegressor:
    """Return a regression that standardizes the values, so that epsilon does not depend on their unit."""
    model = TransformedTargetRegressor(SVR(kernel="rbf"), transformer=StandardScaler())
    return model.set_params(**parameters)


def fit(x: Floats, y: Floats, x_test: Floats, y_test: Floats, seed: int) -> Fit:
    """Choose the parameters by 5-fold cross-validation, fit with all networks, rank the test networks.

    Embeddings are used as they are, as in the published experiment.

    Args:
        x, y: (n, d) embeddings and (n,) values of a property.
        x_test, y_test: the same for other networks.
        seed: seed of the shuffle that makes the folds; nothing else is random.

    Raises:
        InputError: fewer networks than twice the folds.
    """
    if len(x) < 2 * FOLDS:
        raise InputError(f"{len(x)} networks have values; regression needs {2 * FOLDS} or more")
    folds = KFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    search = GridSearchCV(_regression(), GRID, cv=folds).fit(x, y)
    predicted = search.predict(x_test)
    return Fit(search.best_params_, predicted, kendall(predicted, y_test))


def predict(parameters: dict[str, Any], x: Floats, y: Floats, x_new: Floats) -> Floats:
    """Fit a regression with given parameters, and return its values for other networks."""
    values: Floats = _regression(**parameters).fit(x, y).predict(x_new)
    return values
