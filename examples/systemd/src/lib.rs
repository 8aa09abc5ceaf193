//! A package of its own, so that the other examples are built without the crates that this one needs.
