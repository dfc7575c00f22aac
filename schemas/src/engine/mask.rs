//! Masks: what of a personal value may still be seen.
//!
//! No national rule fixes them; these are the common conventions (domain practice under GB/T 37964-2019, de-identification guide).
//! A value that has not the expected shape is hidden whole: a mask must never show more because a value is odd.

use super::record_type::words;

words! {
    /// How a value is masked.
    Mask {
        /// The field has no mask; a grant cannot ask for one.
        #[default]
        None = "none",
        /// 姓名: the surname, and the last character from three on.
        Name = "name",
        /// 公民身份号码: first six and last four.
        ResidentId = "resident_id",
        /// 手机号: first three and last four.
        Mobile = "mobile",
        /// 固定电话: area code and last four.
        Landline = "landline",
        /// 地址: down to district or county.
        Address = "address",
        /// 银行卡: first six and last four.
        BankCard = "bank_card",
        /// 护照和通行证: first two and last three.
        Passport = "passport",
        /// 电子邮箱: first character and domain.
        Email = "email",
    }
}

/// Surnames of two characters that are still common.
const COMPOUND_SURNAMES: [&str; 20] = [
    "欧阳", "司马", "上官", "诸葛", "司徒", "东方", "皇甫", "尉迟", "公孙", "慕容", "令狐", "夏侯", "宇文", "长孙",
    "端木", "百里", "东郭", "南宫", "呼延", "轩辕",
];

impl Mask {
    /// Appends the masked form of `value` to `out`.
    pub(crate) fn apply(self, value: &str, out: &mut String) {
        match self {
            Mask::Name => name(value, out),
            Mask::ResidentId | Mask::BankCard => keep(value, 6, 4, out),
            Mask::Mobile => keep(value, 3, 4, out),
            Mask::Landline => landline(value, out),
            Mask::Address => address(value, out),
            Mask::Passport => keep(value, 2, 3, out),
            Mask::Email => email(value, out),
            Mask::None => hide(value, out),
        }
    }
}

fn hide(value: &str, out: &mut String) {
    out.extend(value.chars().map(|_| '*'));
}

/// Keeps `first` and `last` characters; a value that has no more than these is hidden whole.
fn keep(value: &str, first: usize, last: usize, out: &mut String) {
    let count = value.chars().count();
    if count <= first + last {
        return hide(value, out);
    }
    out.extend(value.chars().enumerate().map(
        |(index, c)| {
            if index < first || index >= count - last { c } else { '*' }
        },
    ));
}

fn name(value: &str, out: &mut String) {
    // A name of several segments (·): the first character, and where the segments end.
    if value.contains('·') {
        out.extend(value.chars().enumerate().map(|(index, c)| if index == 0 || c == '·' { c } else { '*' }));
        return;
    }
    let surname = if COMPOUND_SURNAMES.iter().any(|surname| value.starts_with(surname)) { 2 } else { 1 };
    match value.chars().count() {
        0 | 1 => hide(value, out),
        count if count <= surname + 1 => out.extend(
            value.chars().enumerate().map(|(index, c)| if index < surname && index + 1 < count { c } else { '*' }),
        ),
        _ => keep(value, surname, 1, out),
    }
}

fn landline(value: &str, out: &mut String) {
    let digits = value.chars().filter(char::is_ascii_digit).count();
    if digits != value.chars().filter(|c| *c != '-').count() {
        return hide(value, out);
    }
    let area = match value.as_bytes() {
        [b'0', b'1' | b'2', ..] => 3,
        [b'0', ..] => 4,
        _ => 0,
    };
    let last = if digits >= area + 7 { 4 } else { 2 };
    if digits <= area + last {
        return hide(value, out);
    }
    let mut seen = 0;
    for c in value.chars() {
        let kept = c == '-' || seen < area || seen >= digits - last;
        seen += usize::from(c != '-');
        out.push(if kept { c } else { '*' });
    }
}

/// Keeps an address down to its district or county (not 自治区, not 小区 or 社区, which say too little or too much), else its city.
fn address(value: &str, out: &mut String) {
    let district = value.char_indices().find(|&(at, c)| {
        let before = value.get(..at).unwrap_or_default();
        at > 0
            && matches!(c, '区' | '县' | '旗')
            && !["自治", "小", "社", "园", "校", "厂"].iter().any(|word| before.ends_with(word))
    });
    let place = district.filter(|&(at, _)| value.get(..at).is_some_and(|before| before.chars().count() <= 18));
    let place = place.or_else(|| value.char_indices().find(|&(at, c)| at > 0 && c == '市'));
    if let Some((at, c)) = place {
        out.push_str(value.get(..at + c.len_utf8()).unwrap_or_default());
    }
    out.push_str("****");
}

fn email(value: &str, out: &mut String) {
    match (value.chars().next(), value.rsplit_once('@')) {
        (Some(first), Some((local, domain))) if !local.is_empty() => {
            out.push(first);
            out.push_str("***@");
            out.push_str(domain);
        }
        _ => hide(value, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: Mask, value: &str) -> String {
        let mut out = String::new();
        mask.apply(value, &mut out);
        out
    }

    #[test]
    fn names_keep_the_surname_and_from_three_on_the_last_character() {
        for (value, shown) in [
            ("张三", "张*"),
            ("张小明", "张*明"),
            ("欧阳锋", "欧阳*"),
            ("欧阳修文", "欧阳*文"),
            ("王", "*"),
            ("", ""),
            ("买买提·艾力", "买**·**"),
            ("张三李四", "张**四"),
            ("欧阳", "欧*"),
            ("𠮷田茂", "𠮷*茂"),
        ] {
            assert_eq!(masked(Mask::Name, value), shown, "{value}");
        }
    }

    #[test]
    fn numbers_keep_their_ends() {
        assert_eq!(masked(Mask::ResidentId, "330106199003070022"), "330106********0022");
        assert_eq!(masked(Mask::ResidentId, "330106900307002"), "330106*****7002");
        assert_eq!(masked(Mask::Mobile, "13800138000"), "138****8000");
        assert_eq!(masked(Mask::BankCard, "6222021234567890123"), "622202*********0123");
        assert_eq!(masked(Mask::Passport, "E12345678"), "E1****678");
        assert_eq!(masked(Mask::Landline, "0513-85123456"), "0513-****3456");
        assert_eq!(masked(Mask::Landline, "010-6512345"), "010-***2345");
        assert_eq!(masked(Mask::Landline, "01085123456"), "010****3456");
        assert_eq!(masked(Mask::Landline, "85123456"), "****3456");
    }

    #[test]
    fn addresses_end_at_the_district() {
        assert_eq!(masked(Mask::Address, "江苏省南通市崇川区人民中路1号"), "江苏省南通市崇川区****");
        assert_eq!(masked(Mask::Address, "江苏省南通市启东市汇龙镇阳光小区3幢"), "江苏省南通市****");
        assert_eq!(masked(Mask::Address, "内蒙古自治区呼和浩特市新城区海拉尔大街"), "内蒙古自治区呼和浩特市新城区****");
        assert_eq!(masked(Mask::Address, "人民中路1号"), "****");
    }

    #[test]
    fn mail_keeps_its_first_character_and_domain() {
        assert_eq!(masked(Mask::Email, "zhang@example.cn"), "z***@example.cn");
        assert_eq!(masked(Mask::Email, "zhang"), "*****");
        assert_eq!(masked(Mask::Email, "@example.cn"), "***********");
    }

    #[test]
    fn an_odd_value_is_hidden_whole() {
        for (mask, value) in [
            (Mask::ResidentId, "1234567890"),
            (Mask::Mobile, "1234567"),
            (Mask::Passport, "E1234"),
            (Mask::Landline, "call me"),
            (Mask::Landline, "0513"),
        ] {
            assert_eq!(masked(mask, value), "*".repeat(value.chars().count()));
        }
    }
}
