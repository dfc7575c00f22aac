//! Identifiers of legal persons, natural persons, certificates, items and places.
