//! The messages and the help of the client, in Spanish and English side by side. Replies of the
//! server are not translated: their language is that of the verb.

use std::ffi::OsString;
use std::io;

pub use reservad::text::Lang;

/// A text in both languages. Each `{}` is a placeholder, which [`format`](Self::format) fills.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    spanish: &'static str,
    english: &'static str,
}

impl Text {
    /// Returns the text in this language, with its placeholders.
    pub fn get(self, language: Lang) -> &'static str {
        language.localized(self.spanish, self.english)
    }

    /// Returns the text in this language with its placeholders replaced in order. There must be as
    /// many values as placeholders.
    pub fn format(self, language: Lang, values: &[&str]) -> String {
        let template = self.get(language);
        debug_assert_eq!(template.matches("{}").count(), values.len(), "{template}");
        let mut pieces = template.split("{}");
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for (piece, value) in pieces.zip(values) {
            text.push_str(value);
            text.push_str(piece);
        }
        text
    }
}

/// Returns the language of the user: Spanish if the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that
/// is set and not empty begins with `es`, and English otherwise.
pub fn language_from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Lang {
    let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
        .into_iter()
        .filter_map(variable)
        .find(|value| !value.is_empty());
    match locale {
        Some(locale) if locale.as_encoded_bytes().starts_with(b"es") => Lang::Es,
        _ => Lang::En,
    }
}

/// Returns the text of a system error. Rare errors are in English in both languages.
pub fn reason(language: Lang, error: &io::Error) -> String {
    let text = match error.kind() {
        io::ErrorKind::ConnectionRefused => REFUSED,
        io::ErrorKind::TimedOut => TIMED_OUT,
        io::ErrorKind::HostUnreachable => HOST_UNREACHABLE,
        io::ErrorKind::NetworkUnreachable => NETWORK_UNREACHABLE,
        io::ErrorKind::ConnectionReset => RESET,
        _ => return error.to_string(),
    };
    text.get(language).to_owned()
}

/// Defines each text as a constant, and a list of all texts for the test.
macro_rules! texts {
    ($($name:ident: $spanish:expr, $english:expr;)*) => {
        $(pub const $name: Text = Text { spanish: $spanish, english: $english };)*
        #[cfg(test)]
        const ALL: &[Text] = &[$($name),*];
    };
}

texts! {
    // Interactive mode.
    CONNECTED:
        "Conectado a {}.",
        "Connected to {}.";
    GREETING_HINT:
        "AYUDA muestra las órdenes; SALIR, Ctrl-D o Ctrl-C para terminar.",
        "HELP lists the commands; QUIT, Ctrl-D or Ctrl-C to leave.";
    PROMPT: "reserva> ", "reserva> ";

    // Usage errors.
    UNKNOWN_OPTION:
        "opción desconocida {}; las opciones van antes de la primera palabra (consulta reserva --help)",
        "unknown option {}; options come before the first word (see reserva --help)";
    NO_VALUE:
        "falta el valor de {} (consulta reserva --help)",
        "{} needs a value (see reserva --help)";
    NOT_UTF8:
        "un argumento no está en UTF-8; el servidor solo acepta UTF-8",
        "an argument is not UTF-8; the server accepts only UTF-8";
    INVALID_TIMEOUT:
        "duración no válida «{}» para --timeout; escribe 30s, 5m o 1h",
        "invalid duration '{}' for --timeout; write 30s, 5m or 1h";
    INVALID_SERVER:
        "servidor no válido «{}»; escribe MÁQUINA, MÁQUINA:PUERTO o [IPv6]:PUERTO, con un puerto entre 1 y 65535",
        "invalid server '{}'; write HOST, HOST:PORT or [IPv6]:PORT, with a port from 1 to 65535";
    CONTROL_CHARACTER:
        "el argumento «{}» contiene un carácter de control ({}); una orden es una sola línea de texto",
        "the argument '{}' contains a control character ({}); a command is a single line of text";
    NOTHING_TO_SEND:
        "no hay nada que enviar: los argumentos están en blanco",
        "nothing to send: the arguments are blank";
    NO_PROGRAM:
        "falta el programa: reserva ejecutar OBJETIVOS [opciones] -- PROGRAMA ARGUMENTOS...",
        "the program is missing: reserva run TARGETS [options] -- PROGRAM ARGUMENTS...";
    NO_TARGETS:
        "falta el recurso que reservar: reserva ejecutar OBJETIVOS [opciones] -- PROGRAMA ARGUMENTOS...",
        "the resource to reserve is missing: reserva run TARGETS [options] -- PROGRAM ARGUMENTS...";
    NOT_WITH_RUN:
        "«{}» no se puede usar con ejecutar: el programa empieza ahora, con una reserva propia",
        "'{}' cannot be used with run: the program starts now, under a reservation of its own";
    HINT_OPTION:
        "«{}» se envió como parte de la orden; las opciones van antes de la primera palabra",
        "'{}' was sent as part of the command; options come before the first word";
    HINT_NUMBER:
        "en un shell, # empieza un comentario; pon el número entre comillas: {} '#7'",
        "in a shell, # starts a comment; put the number in quotes: {} '#7'";

    // A program under a reservation.
    LOST_RESERVING:
        "se perdió la conexión con {} ({}) antes de obtener la reserva; el programa no se ejecutó.",
        "the connection to {} was lost ({}) before the reservation was granted; the program was not run.";
    CANNOT_RUN: "no se puede ejecutar «{}»: {}", "cannot run '{}': {}";
    NO_PROCESS:
        "el sistema no puede crear un proceso para el programa: {}",
        "the system cannot create a process for the program: {}";
    NO_THREAD:
        "el sistema no puede crear un hilo para la sesión: {}",
        "the system cannot create a thread for the session: {}";
    LOST_RUNNING:
        "se perdió la reserva {} ({}); el programa y todos sus procesos terminaron.",
        "reservation {} was lost ({}); the program and all its processes have ended.";
    LOST_BEFORE_START:
        "se perdió la reserva {} ({}).",
        "reservation {} was lost ({}).";
    STILL_RUNNING:
        "¡se perdió la reserva {} ({}) y estos procesos del programa SIGUEN SIN ELLA, porque no se pueden terminar: {}!",
        "reservation {} was lost ({}), and these processes of the program STILL RUN WITHOUT IT, because they cannot be ended: {}";
    CANNOT_END:
        "no se puede terminar el proceso {} ({}): es de otro usuario",
        "cannot end process {} ({}): it belongs to another user";
    CANNOT_SIGNAL:
        "no se puede enviar la señal al programa (proceso {}): es de otro usuario; el programa sigue, y su reserva también",
        "cannot send the signal to the program (process {}): it belongs to another user; the program continues under its reservation";
    LEFT_RUNNING:
        "el programa terminó y dejó procesos en marcha; se terminan ahora: {}",
        "the program has ended and left processes running, which are ended now: {}";
    WAITING_FOR_CHILDREN:
        "el programa terminó y dejó procesos en marcha; la reserva sigue hasta que terminen: {}",
        "the program has ended and left processes running; the reservation is kept until they end: {}";
    SUPERVISOR_KILLED:
        "el proceso que supervisaba el programa murió; se terminan todos los procesos del programa.",
        "the process that supervised the program was killed; all processes of the program are ended now.";
    KEEPER_KILLED:
        "el proceso que supervisaba el programa murió, y el programa con él.",
        "the process that supervised the program was killed, and the program with it.";
    NOT_CHECKED:
        "se obtuvo la reserva {}, pero {} dejó de contestar y el programa no se ejecutó; consulta RESERVAS.",
        "reservation {} was granted, but {} stopped answering and the program was not run; check with BOOKINGS.";
    LOSS_HISTORY:
        "el servidor perdió su historial o se restauró de una copia",
        "the server lost its history or was restored from a backup";
    LOSS_ENDED: "otro cliente la terminó", "another client ended it";
    LOSS_REPLY: "el servidor respondió «{}»", "the server replied '{}'";
    LOSS_CONNECTION: "conexión con {}: {}", "connection to {}: {}";
    LOSS_END_NEAR: "estaba a punto de vencer", "it was about to expire";
    NOT_CONFIRMED:
        "el servidor no confirmó el final de la reserva {}; consulta RESERVAS.",
        "the server did not confirm the end of reservation {}; check with BOOKINGS.";

    // The server cannot be reached.
    UNRESOLVED:
        "no se encuentra la máquina de {}: {}\n¿Está bien escrito el nombre? Elige el servidor con --server MÁQUINA:PUERTO o RESERVA_SERVER.",
        "cannot find the host of {}: {}\nIs the name spelled correctly? Choose the server with --server HOST:PORT or RESERVA_SERVER.";
    NO_ADDRESS: "el nombre no tiene direcciones", "the name has no address";
    UNREACHABLE:
        "no se puede conectar con {}: {}\n¿Está en marcha? Arráncalo con «reservad», o elige otro con --server MÁQUINA:PUERTO o RESERVA_SERVER.",
        "cannot connect to {}: {}\nIs it running? Start it with 'reservad', or choose another with --server HOST:PORT or RESERVA_SERVER.";
    REFUSED: "conexión rechazada", "connection refused";
    TIMED_OUT: "no contesta a tiempo", "no answer in time";
    HOST_UNREACHABLE: "no hay ruta hasta la máquina", "no route to the host";
    NETWORK_UNREACHABLE: "no hay ruta hasta la red", "no route to the network";
    RESET: "el servidor cortó la conexión", "the server reset the connection";
    CLOSED: "el servidor cerró la conexión", "the server closed the connection";

    // The connection was lost.
    LOST_BEFORE_REPLY:
        "se perdió la conexión con {} antes de la respuesta completa ({}).\nQuizá la orden se cumplió: consulta RESERVAS antes de repetirla.",
        "the connection to {} was lost before the whole reply ({}).\nThe command may have been run: check with BOOKINGS before you repeat it.";
    LOST_WATCHING:
        "se perdió la conexión con {} ({}).\nPara continuar desde ahí: OBSERVAR tras=N, con el número del último aviso.",
        "the connection to {} was lost ({}).\nTo continue from there: WATCH after=N, with the number of the last notice.";
    LOST_IN_SESSION:
        "se perdió la conexión con {} ({}).\nVuelve a empezar con «reserva» cuando el servidor esté en marcha.",
        "the connection to {} was lost ({}).\nStart 'reserva' again when the server is running.";
    LOST_IN_BATCH:
        "se perdió la conexión con {} ({}): respuestas completas: {}; líneas enviadas: {}.\nLas que no tienen respuesta quizá se cumplieron: consulta RESERVAS antes de repetirlas.",
        "the connection to {} was lost ({}): complete replies: {}; lines sent: {}.\nThose without a reply may have been run: check with BOOKINGS before you repeat them.";
    QUIT_NOT_CONFIRMED:
        "{} no confirmó SALIR; la conexión se cierra de todos modos.",
        "{} did not confirm QUIT; the connection is closed anyway.";
    NOT_RESERVAD:
        "{} no responde como reservad; envió «{}».\n¿Es el puerto correcto? Elígelo con --server MÁQUINA:PUERTO o RESERVA_SERVER.",
        "{} does not answer like reservad; it sent '{}'.\nIs it the right port? Choose it with --server HOST:PORT or RESERVA_SERVER.";
    LINE_TOO_LONG: "una línea demasiado larga", "a line that is too long";

    // Input and output.
    LINE_NOT_UTF8:
        "línea {} de la entrada, byte {}: no es UTF-8 ({}); no se ejecutó nada a partir de esa línea",
        "line {} of the input, byte {}: not UTF-8 ({}); nothing from that line on was run";
    INPUT_FAILED: "no se puede leer la entrada: {}", "cannot read the input: {}";
    OUTPUT_FAILED: "no se puede escribir la salida: {}", "cannot write the output: {}";
    SIGNALS_FAILED: "no se puede atender Ctrl-C: {}", "cannot handle Ctrl-C: {}";

    // --help.
    HELP_ABOUT:
        "Cliente de reservad, el servidor de reservas.",
        "Client of reservad, the reservation server.";
    HELP_USAGE:
        "reserva [OPCIONES] [PALABRAS]...\n     reserva [OPCIONES] ejecutar OBJETIVOS [opción=valor]... -- PROGRAMA [ARGUMENTOS]...",
        "reserva [OPTIONS] [WORDS]...\n       reserva [OPTIONS] run TARGETS [option=value]... -- PROGRAM [ARGUMENTS]...";
    HELP_TEMPLATE:
        "{about}\n\nUso: {usage}\n\n{all-args}{after-help}\n",
        "{about}\n\nUsage: {usage}\n\n{all-args}{after-help}\n";
    HELP_ARGUMENTS: "Argumentos", "Arguments";
    HELP_OPTIONS: "Opciones", "Options";
    HELP_WORDS_VALUE: "PALABRAS", "WORDS";
    HELP_WORDS:
        "Envía esta orden, por ejemplo: RESERVAR Habitación 1",
        "Send this command, for example: RESERVE Habitación 1";
    HELP_SERVER_VALUE: "MÁQUINA:PUERTO", "HOST:PORT";
    HELP_SERVER:
        "Conéctate a este servidor [por defecto: RESERVA_SERVER, o 127.0.0.1:12345]",
        "Connect to this server [default: RESERVA_SERVER, or 127.0.0.1:12345]";
    HELP_TIMEOUT_VALUE: "DURACIÓN", "DURATION";
    HELP_TIMEOUT:
        "Espera cada respuesta este tiempo, además de espera= [por defecto: 10s]",
        "Wait this long for each reply, in addition to wait= [default: 10s]";
    HELP_QUIET:
        "Muestra solo los errores",
        "Print only errors";
    HELP_WAIT_CHILDREN:
        "Con ejecutar: mantén la reserva hasta que terminen también los procesos que deja el programa",
        "With run: keep the reservation until the processes left by the program have ended too";
    HELP_HELP: "Muestra esta ayuda", "Print this help";
    HELP_VERSION: "Muestra la versión", "Print the version";
    HELP_MORE:
"Con argumentos, los envía como una línea y muestra la respuesta: OK en la salida estándar y ERR en
la salida de errores. Las opciones van antes de la primera palabra. Repone las comillas que quita el
shell: nota='dos adultos' se envía como nota=\"dos adultos\".

Sin argumentos y en un terminal, es interactivo. Sin argumentos y con otra entrada, envía todas sus
líneas sin esperar y muestra en orden todas las respuestas, también las ERR, en la salida estándar.

ejecutar (o run) reserva, ejecuta el programa y libera la reserva. El programa recibe sin cambios los
argumentos, la entrada, las salidas, el terminal y las señales, y en su entorno RESERVA_ID,
RESERVA_RECURSOS (uno por línea) y RESERVA_HASTA. Acepta las opciones de RESERVAR, menos desde= y
clave=:
  por=30m         se renueva cada tercio del plazo; sobrevive a una caída más corta del servidor
  hasta= noches=  hasta ese momento, sin renovar
  (ninguna)       hasta=salir por=60s: se renueva cada 20 segundos
  hasta=salir     mientras dure la conexión
  espera=1h       espera su turno
  titular=ana     a nombre de ana
Si se pierde la reserva (otro la cancela, el servidor no vuelve a tiempo o llega su final), todos los
procesos del programa reciben TERM y, como mucho 5 segundos después y antes de que venza, KILL. Lo
mismo ocurre si reserva muere, y con los procesos que el programa deja en marcha al terminar, salvo
con --wait-children. --quiet y --wait-children también pueden ir detrás de ejecutar.

Ejemplos:
  reserva LISTAR
  reserva RESERVAR Habitación 1 nota='dos adultos'
  reserva --server hotel.example:12345 CANCELAR '#42'
  reserva < ordenes.txt
  reserva OBSERVAR
  reserva ejecutar 'placa *' por=10m espera=1h -- make prueba

Códigos de salida:
  0   todo OK
  64  ERR 400, 401, 403, 404, 410, 413, uso incorrecto o entrada que no es texto: corrígelo antes
  69  no hay servidor, o la conexión se perdió o quedó en silencio antes de la respuesta completa
  71  el sistema no puede crear un proceso para el programa
  74  falló la lectura de la entrada o la escritura de la salida
  75  ERR 408, 409, 429, 503: prueba más tarde
ejecutar termina con el código del programa (128+n si lo terminó la señal n), uno de los anteriores, o:
  76  se perdió la reserva
  126, 127  el programa no se puede ejecutar, o no existe",
"With arguments, sends them as one line and prints the reply: OK on standard output, ERR on
standard error. Options come before the first word. Quotes that the shell removes are restored:
note='two adults' is sent as note=\"two adults\".

Without arguments on a terminal, it is interactive. Without arguments and with any other input, it
sends all input lines without waiting and prints all replies, including ERR, in order on standard
output.

run (or ejecutar) reserves, runs the program and releases. The program gets its arguments, input,
outputs, terminal and signals unchanged, and RESERVA_ID, RESERVA_RECURSOS (one per line) and
RESERVA_HASTA in its environment. The options are those of RESERVE, except from= and key=:
  for=30m         renewed after each third of its term; survives a shorter server outage
  until= nights=  until then, not renewed
  (none)          until=quit for=60s: renewed every 20 seconds
  until=quit      as long as the connection lasts
  wait=1h         wait in the queue
  holder=ana      in the name of ana
If the reservation is lost (another client cancels it, the server is not back in time, or its end
comes), all processes of the program get TERM and, within 5 seconds and before the reservation ends,
KILL. The same happens if reserva is killed, and to processes that the program leaves running at its
end, except with --wait-children. --quiet and --wait-children may also follow run.

Examples:
  reserva LIST
  reserva RESERVE Habitación 1 note='two adults'
  reserva --server hotel.example:12345 CANCEL '#42'
  reserva < commands.txt
  reserva WATCH
  reserva run 'board *' for=10m wait=1h -- make check

Exit status:
  0   all OK
  64  ERR 400, 401, 403, 404, 410, 413, wrong usage or input that is not text: correct it first
  69  no server, or the connection was lost or silent before the whole reply
  71  the system cannot create a process for the program
  74  reading the input or writing the output failed
  75  ERR 408, 409, 429, 503: try later
run exits with the code of the program (128+n if signal n ended it), one of the above, or:
  76  the reservation was lost
  126, 127  the program cannot be run, or does not exist";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_have_the_same_placeholders() {
        for text in ALL {
            let placeholders = |template: &str| template.matches("{}").count();
            assert_eq!(placeholders(text.spanish), placeholders(text.english), "{text:?}");
            assert!(!text.spanish.is_empty() && !text.english.is_empty());
        }
    }

    #[test]
    fn placeholders_are_replaced_in_order_and_values_are_left_alone() {
        let text = Text { spanish: "{} a {}!", english: "{}" };
        assert_eq!(text.format(Lang::Es, &["{}", "b"]), "{} a b!");
    }

    #[test]
    fn first_variable_that_is_not_empty_decides() {
        use Lang::{En, Es};
        let cases: [([Option<&str>; 3], Lang); 9] = [
            ([None, None, None], En),
            ([None, None, Some("es_AR.UTF-8")], Es),
            ([None, None, Some("es")], Es),
            ([None, None, Some("en_US.UTF-8")], En),
            ([None, Some("C"), Some("es_ES")], En),
            ([Some(""), Some(""), Some("es_ES")], Es),
            ([Some("es_ES"), Some("en"), Some("en")], Es),
            ([Some("POSIX"), Some("es"), Some("es")], En),
            ([Some(""), None, None], En),
        ];
        for (values, expected) in cases {
            let got = language_from_environment(|name| {
                let at = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().position(|n| *n == name);
                at.and_then(|at| values[at]).map(OsString::from)
            });
            assert_eq!(got, expected, "{values:?}");
        }
    }
}
