"""The sections of the stages that a run may have before its student is trained."""
