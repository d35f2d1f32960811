"""Lines that every LAMMPS script of ours has, whatever gives the forces."""

from __future__ import annotations

from vibraloom import __version__
from vibraloom.calculators.lammps.settings import RunSettings

PRODUCTION_MARK = "vibraloom: production"
"""Line of the log after which the thermo output belongs to frames."""


def header(settings: RunSettings, model: str, segment: int, boundary: str, atom_style: str) -> list[str]:
    """Log, version, units real (Å, fs, kcal/mol, e, amu) and boundaries."""
    return [
        f"# vibraloom {__version__}: {model}, seed {settings.seed}, replica {settings.replica}, segment {segment}",
        f"log log-{segment:04d}.lammps",
        'print "vibraloom: LAMMPS version $(version)"',
        "units real",
        f"atom_style {atom_style}",
        f"boundary {boundary}",
    ]


def thermometer(*, takes_momentum: bool) -> list[str]:
    """Temperature of the group ``mobile``; a frozen slab or a wall takes momentum, so that all 3N degrees of freedom count."""
    lines = ["compute warmth mobile temp", f"compute_modify warmth extra/dof {0 if takes_momentum else 3}"]
    return [*lines, "thermo_style custom step temp pe ke etotal press", "thermo_modify temp warmth"]


def timer(settings: RunSettings) -> list[str]:
    """Clean stop before the wall time."""
    seconds = settings.wall_seconds
    if seconds is None:
        return []
    return [f"timer timeout {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d} every 50"]


def equilibration(settings: RunSettings, *, takes_momentum: bool) -> list[str]:
    """Seeded velocities of the group ``mobile``, then Langevin dynamics; step 0 of the production comes after it."""
    velocity_seed, noise_seed = settings.engine_seeds
    temperature, steps = f"{settings.temperature:.10g}", settings.equilibration_steps
    lines = ["reset_timestep 0", f"timestep {settings.timestep:.10g}"]
    lines.append(f"velocity mobile create {temperature} {velocity_seed} mom yes rot no dist gaussian")
    if steps:
        # "zero yes": the noise gives no net push, so that a bulk or a free molecule does not drift.
        push = "no" if takes_momentum else "yes"
        lines += [
            f"fix bath mobile langevin {temperature} {temperature} 100.0 {noise_seed} zero {push}",
            "fix move mobile nve",
            f"run {steps}",
            "unfix move",
            "unfix bath",
            # A wall-time stop inside the equilibration leaves nothing to continue from: it must not look like
            # production.
            f'if "$(step) != {steps}" then "print \'vibraloom: stopped within equilibration\'" "quit 0"',
        ]
    if not takes_momentum:
        lines.append("velocity mobile zero linear")
    return [*lines, "reset_timestep 0", "write_restart checkpoint-start.restart"]


def production(settings: RunSettings, segment: int, before: list[str]) -> list[str]:
    """Frames, thermo lines and restart files up to the last step; ``before``: the fixes that move the atoms."""
    stride = settings.stride
    return [
        f"timestep {settings.timestep:.10g}",
        *before,
        f"thermo {stride}",
        "thermo_modify norm no flush yes lost error temp warmth format float %.12g",
        f"dump frames all custom {stride} dump-{segment:04d}.bin id xu yu zu vx vy vz",
        f"restart {settings.checkpoint} checkpoint-a.restart checkpoint-b.restart",
        f'print "{PRODUCTION_MARK}"',
        f"run {settings.steps} upto",
        "write_restart checkpoint-final.restart",
    ]
