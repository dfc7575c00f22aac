//! Taxation 税务: subscribes to enterprise/v1 and fills an inbox table of its own.
