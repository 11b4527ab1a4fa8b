from job_harness import start, workspace

__all__ = ["start", "workspace"]
