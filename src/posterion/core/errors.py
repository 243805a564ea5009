"""The errors that Posterion raises: each says what is wrong, where, and what to do."""


class PosterionError(Exception):
    """Base of every error that Posterion raises on purpose."""


class ParameterError(PosterionError, ValueError):
    """A parameter's declaration is unusable (name, bounds, shape, prior)."""


class DensityError(PosterionError, ValueError):
    """A log-density cannot be evaluated, or gives nothing that can be learned from."""


class GradientError(DensityError):
    """A gradient is needed, but the density has none."""


class ThetaError(PosterionError, KeyError):
    """A point does not hold exactly the target's parameters."""

    def __str__(self) -> str:  # KeyError would print the representation of the message
        return str(self.args[0]) if self.args else ""


class ShapeError(PosterionError, ValueError):
    """An array has the wrong shape or dtype."""


class SettingError(PosterionError, ValueError):
    """A setting has an unknown name or an unusable value."""


class MissingExtraError(PosterionError, ImportError):
    """An optional dependency is not installed; the message names the extra."""


class BundleError(PosterionError, ValueError):
    """A ``.posterion`` file is unusable; nothing in it was run."""


class BundleCorruptError(BundleError):
    """A ``.posterion`` file is truncated, or its checksum does not match."""


class BundleVersionError(BundleError):
    """A ``.posterion`` file was written by a newer version of the format."""


class OutputError(PosterionError, OSError):
    """A file could not be written; what was there before is still there."""


class ExportError(PosterionError, ValueError):
    """A result has no form in the format asked for; the message says which part of it."""


class TableError(PosterionError, ValueError):
    """A table from outside is missing, truncated or not of the expected form."""


class WorkspaceError(PosterionError, ValueError):
    """A HistFactory workspace, or its patch, cannot be read or makes no usable model."""


class SampleError(PosterionError, ValueError):
    """Samples that nothing can be learned from: not finite, constant, outside of the support."""


class ReweightingError(PosterionError, ValueError):
    """A result has too few draws where another prior looks."""


class CheckpointError(PosterionError, ValueError):
    """A checkpoint cannot be resumed from."""


class InterruptedLearning(PosterionError, KeyboardInterrupt):
    """Learning was interrupted; a checkpoint was written and can be resumed from."""


class ExpensiveDirectionWarning(UserWarning):
    """A flow is used in the direction that costs one pass of its network per coordinate."""


class ParityWarning(UserWarning):
    """An exported file gives other numbers than the result by more than rounding should."""
