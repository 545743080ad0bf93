"""Training Dynamics Workbench."""
import os

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
