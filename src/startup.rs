//! Determines the time zone of the host at the start: `TZ` if set, or else `/etc/localtime`.

use std::ffi::OsStr;
use std::path::Path;

use reservad::time::Zone;

/// Returns the zone of the environment variable `TZ` if it is set, or else the zone of the file
/// `localtime` (`/etc/localtime`). The second value is a warning for the log if neither exists and
/// UTC is used.
///
/// # Errors
/// If `TZ` or the file names a zone that cannot be read. Falling back to UTC would move every
/// booking.
pub fn system_zone(tz: Option<&OsStr>, localtime: &Path) -> Result<(Zone, Option<String>), String> {
    let Some(tz) = tz else { return zone_of_file(localtime) };
    let wrong = || {
        let tz = tz.to_string_lossy();
        format!(
            "unknown time zone '{tz}' in the environment variable TZ: use an IANA name such as America/Montevideo, or UTC, and check that the package tzdata is installed"
        )
    };
    let text = tz.to_str().ok_or_else(wrong)?;
    let name = text.strip_prefix(':').unwrap_or(text);
    if name.is_empty() {
        // POSIX: an empty TZ is UTC.
        return Ok((Zone::utc(), None));
    }
    let zone = match name.starts_with('/') {
        true => read_zone(Path::new(name)),
        false => Zone::named(name).ok().or_else(|| Zone::posix(text)),
    };
    zone.map(|zone| (zone, None)).ok_or_else(wrong)
}

fn zone_of_file(localtime: &Path) -> Result<(Zone, Option<String>), String> {
    let shown = localtime.display();
    if std::fs::symlink_metadata(localtime).is_err() {
        let warning = format!(
            "times are in UTC: {shown} does not exist and TZ is not set; use --time-zone to choose another zone"
        );
        return Ok((Zone::utc(), Some(warning)));
    }
    let wrong = || {
        format!(
            "cannot read the time zone in {shown}: install the package tzdata, or use --time-zone with an IANA name such as America/Montevideo, or UTC"
        )
    };
    read_zone(localtime).map(|zone| (zone, None)).ok_or_else(wrong)
}

/// Reads a file of the zone database. The zone gets the name of the path or of the link's target,
/// which is cheaper than a search of the whole database, half of the time of a start.
fn read_zone(path: &Path) -> Option<Zone> {
    let target = std::fs::canonicalize(path).ok()?;
    let name = target.to_str().and_then(|target| target.split_once("/zoneinfo/"));
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    Zone::of_file(name.map_or("unnamed", |(_, name)| name), &std::fs::read(path).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_tz(tz: &str) -> Result<(Zone, Option<String>), String> {
        system_zone(Some(OsStr::new(tz)), Path::new("/nowhere"))
    }

    #[test]
    fn tz_names_the_zone_in_each_of_its_forms() {
        let cases = [
            ("America/Montevideo", "America/Montevideo"),
            (":America/Montevideo", "America/Montevideo"),
            ("/usr/share/zoneinfo/America/Montevideo", "America/Montevideo"),
            ("", "UTC"),
            ("UTC", "UTC"),
        ];
        for (tz, name) in cases {
            let (zone, warning) = of_tz(tz).unwrap();
            assert_eq!((zone.name(), warning), (name, None), "{tz}");
        }
        let (zone, _) = of_tz("EST5EDT,M3.2.0,M11.1.0").unwrap();
        let summer = zone.parse("2090-07-01T12:00", reservad::time::Time::from_ms(0)).unwrap();
        assert_eq!(
            Zone::utc().text(summer, reservad::time::Round::Down),
            "2090-07-01T16:00:00+00:00"
        );
    }

    #[test]
    fn an_unknown_zone_in_tz_is_an_error() {
        for tz in ["Amrica/Montevideo", "/nowhere/zone", "/dev/null", "3", "Europe/Madrid x"] {
            let error = of_tz(tz).err().unwrap_or_else(|| panic!("'{tz}' is accepted"));
            assert!(error.contains(tz) && error.contains("IANA"), "{error}");
        }
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            assert!(system_zone(Some(OsStr::from_bytes(b"\xFF")), Path::new("/nowhere")).is_err());
        }
    }

    #[test]
    fn a_missing_localtime_is_utc_with_a_warning_and_an_unreadable_one_an_error() {
        let (zone, warning) = system_zone(None, Path::new("/nowhere/localtime")).unwrap();
        assert_eq!(zone.name(), "UTC");
        assert!(warning.unwrap().contains("--time-zone"));
        let error = system_zone(None, Path::new("/dev/null")).err().unwrap();
        assert!(error.contains("/dev/null") && error.contains("--time-zone"), "{error}");
    }
}
