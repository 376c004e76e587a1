"""Many clips by many methods, to one table; on one core, on all, or on a cluster."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"finished": ["evaluate_files"], "run": ["compare"],
                  "grid": ["mean_settings", "pareto_front", "sweep"]},
)  # fmt: skip
