//! Money, in whole minor units of a currency. There is no arithmetic with fractions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A currency by its ISO 4217 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// An amount of some currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    /// The amount in minor units, such as cents.
    pub minor: i64,
    pub currency: Currency,
}

/// Why a text is not an amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyFault {
    #[error("a currency is three letters of ISO 4217, such as EUR")]
    Currency,
    #[error("an amount is a number such as 50 or 50.00")]
    Amount,
    #[error("the currency has fewer decimals than that amount")]
    Decimals,
}

impl Currency {
    /// The code of ISO 4217 for "no currency". A wallet has it before its first credit.
    pub const NONE: Self = Self(*b"XXX");

    /// Reads a code, in any case.
    ///
    /// # Errors
    /// When it is not three letters.
    pub fn parse(code: &str) -> Result<Self, MoneyFault> {
        let code = <[u8; 3]>::try_from(code.as_bytes()).map_err(|_| MoneyFault::Currency)?;
        if code.iter().all(u8::is_ascii_alphabetic) {
            Ok(Self(code.map(|letter| letter.to_ascii_uppercase())))
        } else {
            Err(MoneyFault::Currency)
        }
    }

    #[must_use]
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Decimals of the minor unit, by the list of ISO 4217.
    #[must_use]
    pub fn decimals(self) -> usize {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG" | b"RWF" | b"UGX"
            | b"UYI" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            b"CLF" | b"UYW" => 4,
            _ => 2,
        }
    }
}

impl Money {
    #[must_use]
    pub fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Reads an amount in major units: `50`, `50.5` or `50.00`, with no more decimals than the currency has.
    ///
    /// # Errors
    /// When the text is not such an amount.
    pub fn parse(amount: &str, currency: Currency) -> Result<Self, MoneyFault> {
        let (whole, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(MoneyFault::Amount);
        }
        let decimals = currency.decimals();
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > decimals {
            return Err(MoneyFault::Decimals);
        }
        let minor = format!("{whole}{fraction:0<decimals$}").parse().map_err(|_| MoneyFault::Amount)?;
        Ok(Self { minor, currency })
    }

    /// The amount in major units, without the currency: `-0.50`.
    #[must_use]
    pub fn amount(self) -> String {
        let (sign, decimals) = (if self.minor < 0 { "-" } else { "" }, self.currency.decimals());
        let digits = format!("{:0>width$}", self.minor.unsigned_abs(), width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount(), self.currency)
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyFault;
    fn try_from(code: String) -> Result<Self, MoneyFault> {
        Self::parse(&code)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        for (text, code, minor, back) in [
            ("50", "EUR", 5000, "50.00"),
            ("50.5", "eur", 5050, "50.50"),
            ("0.05", "USD", 5, "0.05"),
            ("0.050", "USD", 5, "0.05"),
            ("100", "JPY", 100, "100"),
            ("100.00", "JPY", 100, "100"),
            ("1.234", "KWD", 1234, "1.234"),
            ("007", "NGN", 700, "7.00"),
        ] {
            let money = Money::parse(text, currency(code)).unwrap();
            assert_eq!((money.minor, money.amount().as_str()), (minor, back), "{text} {code}");
        }
        assert_eq!(Money::new(-5, currency("EUR")).to_string(), "-0.05 EUR");
        assert_eq!(Money::new(i64::MIN, currency("JPY")).amount(), i64::MIN.to_string());
    }

    #[test]
    fn other_texts_are_refused_and_nothing_is_rounded() {
        for text in ["", ".", "-1", "+1", "1,00", "1.", ".5", "1e3", "1 000", "99999999999999999999", "\u{0661}"] {
            assert_eq!(Money::parse(text, currency("EUR")), Err(MoneyFault::Amount), "{text}");
        }
        assert_eq!(Money::parse("0.005", currency("EUR")), Err(MoneyFault::Decimals));
        assert_eq!(Money::parse("1.5", currency("JPY")), Err(MoneyFault::Decimals));
        for code in ["", "EU", "EURO", "E1R", "\u{20ac}"] {
            assert!(Currency::parse(code).is_err(), "{code}");
        }
    }

    proptest! {
        #[test]
        fn a_written_amount_is_read_back(minor in 0..=i64::MAX, code in "[A-Z]{3}") {
            let money = Money::new(minor, currency(&code));
            prop_assert_eq!(Money::parse(&money.amount(), money.currency), Ok(money));
        }
    }
}
