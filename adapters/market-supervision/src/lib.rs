//! Market supervision 市场监管: reads its registry and publishes enterprise/v1.
