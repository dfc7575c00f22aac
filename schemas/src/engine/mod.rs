//! The validator: a record type compiles once to a flat program, and one pass over the bytes answers everything.
