//! The adapters of this build: the one list. A new department adds a line here and a feature in the manifest.

use shuqiao_adapter_sdk::ErasedAdapter;

/// Every adapter that was compiled in.
pub fn adapters() -> Vec<&'static dyn ErasedAdapter> {
    vec![
        #[cfg(feature = "market-supervision")]
        &shuqiao_adapter_market_supervision::MarketSupervision,
        #[cfg(feature = "taxation")]
        &shuqiao_adapter_taxation::Taxation,
    ]
}
