//! Blocking sessions and streams over shared memory (see the workspace README).
