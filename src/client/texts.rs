//! Every word of the client's own, Spanish and English side by side. (What the server says is
//! the server's business: its language follows the verb.)

use std::ffi::OsString;
use std::io;

/// The language of the client's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Spanish,
    English,
}

/// One text in both languages; each `{}` is a hole that [`Language::say`] fills in order.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    spanish: &'static str,
    english: &'static str,
}

impl Language {
    /// Spanish where the first of `LC_ALL`, `LC_MESSAGES`, `LANG` that is set and not empty
    /// begins with `es`, else English.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .filter_map(variable)
            .find(|value| !value.is_empty());
        match locale {
            Some(locale) if locale.as_encoded_bytes().starts_with(b"es") => Language::Spanish,
            _ => Language::English,
        }
    }

    /// The text in this language as it stands in the table.
    pub fn plain(self, text: Text) -> &'static str {
        match self {
            Language::Spanish => text.spanish,
            Language::English => text.english,
        }
    }

    /// The text in this language, its holes filled. There must be as many values as holes.
    pub fn say(self, text: Text, values: &[&str]) -> String {
        let template = self.plain(text);
        debug_assert_eq!(template.matches("{}").count(), values.len(), "{template}");
        let mut pieces = template.split("{}");
        let mut said = pieces.next().unwrap_or_default().to_owned();
        for (piece, value) in pieces.zip(values) {
            said.push_str(value);
            said.push_str(piece);
        }
        said
    }

    /// Why the system refused, in this language where it is one of the usual reasons. The
    /// system's own words, which are English, are kept for the rest.
    pub fn reason(self, error: &io::Error) -> String {
        let text = match error.kind() {
            io::ErrorKind::ConnectionRefused => REFUSED,
            io::ErrorKind::TimedOut => TIMED_OUT,
            io::ErrorKind::HostUnreachable => HOST_UNREACHABLE,
            io::ErrorKind::NetworkUnreachable => NETWORK_UNREACHABLE,
            io::ErrorKind::ConnectionReset => RESET,
            _ => return error.to_string(),
        };
        self.plain(text).to_owned()
    }
}

/// Writes the table once: each row becomes a constant, and all rows together a list for the test.
macro_rules! texts {
    ($($name:ident: $spanish:expr, $english:expr;)*) => {
        $(pub const $name: Text = Text { spanish: $spanish, english: $english };)*
        #[cfg(test)]
        const ALL: &[Text] = &[$($name),*];
    };
}

texts! {
    // The conversation.
    CONNECTED:
        "Conectado a {}.",
        "Connected to {}.";
    HINT:
        "AYUDA muestra las órdenes; SALIR, Ctrl-D o Ctrl-C para terminar.",
        "HELP lists the commands; QUIT, Ctrl-D or Ctrl-C to leave.";
    PROMPT: "reserva> ", "reserva> ";
    // The verb that ends a conversation, in the language that its reply should have.
    GOODBYE: "SALIR", "QUIT";

    // Wrong use.
    UNKNOWN_OPTION:
        "opción desconocida {}; las opciones van antes de la primera palabra (consulta reserva --help)",
        "unknown option {}; options come before the first word (see reserva --help)";
    NO_VALUE:
        "falta el valor de {} (consulta reserva --help)",
        "{} needs a value (see reserva --help)";
    NOT_UTF8:
        "un argumento no está en UTF-8; el servidor solo acepta UTF-8",
        "an argument is not UTF-8; the server accepts only UTF-8";
    BAD_TIMEOUT:
        "«{}» no es una duración válida para --timeout; escribe 30s, 5m o 1h",
        "'{}' is not a valid duration for --timeout; write 30s, 5m or 1h";
    BAD_SERVER:
        "servidor no válido «{}»; escribe MÁQUINA, MÁQUINA:PUERTO o [IPv6]:PUERTO, con un puerto entre 1 y 65535",
        "invalid server '{}'; write HOST, HOST:PORT or [IPv6]:PORT, with a port from 1 to 65535";
    CONTROL_CHARACTER:
        "la palabra «{}» contiene un carácter de control ({}); una orden es una sola línea de texto",
        "the word '{}' contains a control character ({}); a command is one line of text";
    NOTHING_TO_SEND:
        "no hay nada que enviar: las palabras están en blanco",
        "nothing to send: the words are blank";

    NO_PROGRAM:
        "falta el programa: reserva ejecutar OBJETIVOS [opciones] -- PROGRAMA ARGUMENTOS...",
        "the program is missing: reserva run TARGETS [options] -- PROGRAM ARGUMENTS...";
    NO_TARGETS:
        "falta el recurso que reservar: reserva ejecutar OBJETIVOS [opciones] -- PROGRAMA ARGUMENTOS...",
        "the resource to reserve is missing: reserva run TARGETS [options] -- PROGRAM ARGUMENTS...";
    NOT_WITH_A_PROGRAM:
        "«{}» no se puede usar con ejecutar: el programa empieza ahora y con una reserva propia",
        "'{}' cannot be used with run: the program starts now, under a reservation of its own";

    // A program under a reservation.
    LOST_RESERVING:
        "se perdió la conexión con {} ({}) antes de obtener la reserva; el programa no se ejecutó.",
        "the connection to {} was lost ({}) before the reservation was granted; the program was not run.";
    CANNOT_RUN: "no se puede ejecutar «{}»: {}", "cannot run '{}': {}";
    CANNOT_GUARD:
        "el sistema no puede crear un proceso para el programa: {}",
        "the system cannot create a process for the program: {}";
    NO_THREAD:
        "el sistema no puede crear un hilo para la conversación: {}",
        "the system cannot create a thread for the conversation: {}";
    WAS_LOST:
        "se perdió la reserva {} ({}); el programa y todos sus procesos terminaron.",
        "reservation {} was lost ({}); the program and all its processes have ended.";
    WAS_LOST_BEFORE:
        "se perdió la reserva {} ({}).",
        "reservation {} was lost ({}).";
    GOES_ON:
        "¡se perdió la reserva {} ({}) y estos procesos del programa SIGUEN SIN ELLA, porque no se pueden terminar: {}!",
        "reservation {} was lost ({}), and these processes of the program STILL RUN WITHOUT IT, because they cannot be ended: {}";
    CANNOT_END:
        "no se puede terminar el proceso {} ({}): es de otro usuario",
        "cannot end process {} ({}): it belongs to another user";
    CANNOT_PASS:
        "no se puede enviar la señal al programa (proceso {}): es de otro usuario; el programa sigue, y su reserva también",
        "cannot send the signal to the program (process {}): it belongs to another user; the program goes on, and so does its reservation";
    LEFT_BEHIND:
        "el programa terminó y dejó procesos en marcha; se terminan ahora: {}",
        "the program has ended and left processes running, which are ended now: {}";
    WAITING_FOR:
        "el programa terminó y dejó procesos en marcha; la reserva sigue hasta que terminen: {}",
        "the program has ended and left processes running; the reservation is kept until they end: {}";
    WRAPPER_GONE:
        "alguien mató el proceso que vigilaba el programa; se terminan todos los procesos del programa.",
        "the process that supervises the program was killed; all processes of the program are ended now.";
    KEEPER_GONE:
        "alguien mató el proceso que vigilaba el programa, y el programa con él.",
        "the process that supervises the program was killed, and the program with it.";
    NOT_CHECKED:
        "se obtuvo la reserva {}, pero {} dejó de contestar y el programa no se ejecutó; consulta RESERVAS.",
        "reservation {} was granted, but {} stopped answering and the program was not run; check with BOOKINGS.";
    WHY_HISTORY:
        "el servidor perdió su historial o se restauró de una copia",
        "the server lost its history or was restored from a backup";
    WHY_ENDED: "otro la terminó", "somebody else ended it";
    WHY_SAID: "el servidor dijo «{}»", "the server said '{}'";
    WHY_CONNECTION: "la conexión con {}: {}", "the connection to {}: {}";
    WHY_TERM: "llegaba su final", "its end was near";
    NOT_CONFIRMED:
        "el servidor no confirmó el final de la reserva {}; consulta RESERVAS.",
        "the server did not confirm the end of reservation {}; check with BOOKINGS.";

    // The server cannot be reached.
    UNRESOLVED:
        "no se encuentra la máquina de {}: {}\n¿Está bien escrito el nombre? Elígelo con --server MÁQUINA:PUERTO o RESERVA_SERVER.",
        "cannot find the host of {}: {}\nIs the name spelled right? Choose it with --server HOST:PORT or RESERVA_SERVER.";
    NO_ADDRESS: "el nombre no tiene direcciones", "the name has no address";
    UNREACHABLE:
        "no se puede conectar con {}: {}\n¿Está en marcha? Arráncalo con «reservad», o elige otro con --server MÁQUINA:PUERTO o RESERVA_SERVER.",
        "cannot connect to {}: {}\nIs it running? Start it with 'reservad', or choose another with --server HOST:PORT or RESERVA_SERVER.";
    REFUSED: "conexión rechazada", "connection refused";
    TIMED_OUT: "no contesta a tiempo", "no answer in time";
    HOST_UNREACHABLE: "no hay ruta hasta la máquina", "no route to the host";
    NETWORK_UNREACHABLE: "no hay ruta hasta la red", "no route to the network";
    RESET: "el servidor la cortó", "the server reset it";
    CLOSED: "el servidor la cerró", "the server closed it";

    // The server went away.
    LOST_ASKING:
        "se perdió la conexión con {} antes de la respuesta completa ({}).\nQuizá la orden se cumplió: consulta RESERVAS antes de repetirla.",
        "the connection to {} was lost before the whole reply ({}).\nThe command may have been run: check with BOOKINGS before you repeat it.";
    LOST_WATCHING:
        "se perdió la conexión con {} ({}).\nOBSERVAR tras=N, con el número del último aviso, continúa desde ahí.",
        "the connection to {} was lost ({}).\nWATCH after=N, with the number of the last notice, continues from there.";
    LOST_TALKING:
        "se perdió la conexión con {} ({}).\nVuelve a empezar con «reserva» cuando el servidor esté en marcha.",
        "the connection to {} was lost ({}).\nStart 'reserva' again when the server is running.";
    LOST_PIPING:
        "se perdió la conexión con {} ({}): respuestas completas: {}; líneas enviadas: {}.\nLas que no tienen respuesta quizá se cumplieron: consulta RESERVAS antes de repetirlas.",
        "the connection to {} was lost ({}): complete replies: {}; lines sent: {}.\nThose without a reply may have been run: check with BOOKINGS before you repeat them.";
    NO_GOODBYE:
        "{} no confirmó SALIR; la conexión se cierra de todos modos.",
        "{} did not confirm QUIT; the connection is closed anyway.";
    FOREIGN:
        "{} no responde como reservad; envió «{}».\n¿Es el puerto correcto? Elígelo con --server MÁQUINA:PUERTO o RESERVA_SERVER.",
        "{} does not answer like reservad; it sent '{}'.\nIs it the right port? Choose it with --server HOST:PORT or RESERVA_SERVER.";
    ENDLESS: "una línea sin fin", "an endless line";

    // Our own input and output.
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
        "Orden que se envía, por ejemplo: RESERVAR Habitación 1",
        "Command to send, for example: RESERVE Habitación 1";
    HELP_SERVER_VALUE: "MÁQUINA:PUERTO", "HOST:PORT";
    HELP_SERVER:
        "Servidor al que conectarse; por defecto, RESERVA_SERVER o 127.0.0.1:12345",
        "Server to connect to; RESERVA_SERVER or 127.0.0.1:12345 by default";
    HELP_TIMEOUT_VALUE: "DURACIÓN", "DURATION";
    HELP_TIMEOUT:
        "Tiempo máximo sin respuesta del servidor, además de espera=; por defecto, 10s",
        "Time that the server may be silent, beyond any wait=; 10s by default";
    HELP_QUIET:
        "No muestres avisos, ni nada si todo va bien",
        "Print no notices, and nothing on success";
    HELP_WAIT_CHILDREN:
        "Con ejecutar: mantén la reserva hasta que terminen también los procesos que deja el programa",
        "With run: keep the reservation until the processes left by the program have ended too";
    HELP_HELP: "Muestra esta ayuda", "Print this help";
    HELP_VERSION: "Muestra la versión", "Print the version";
    HELP_MORE:
"Con argumentos, envía con ellos una línea y muestra la respuesta: OK en la salida estándar, ERR en
la de errores. Las opciones van antes de la primera palabra. Repone las comillas que quita el
shell: nota='dos adultos' se envía como nota=\"dos adultos\".

Sin argumentos y en un terminal, es interactivo. Sin argumentos y con otra entrada, envía todas sus
líneas sin esperar y muestra todas las respuestas, también las ERR, en orden y en la salida estándar.

ejecutar (o run) reserva, ejecuta el programa y libera. El programa recibe sus argumentos, la
entrada, las salidas, el terminal y las señales tal cual, y RESERVA_ID, RESERVA_RECURSOS (uno por
línea) y RESERVA_HASTA en su entorno. Las opciones son las de RESERVAR, menos desde= y clave=:
  por=30m         se renueva cada tercio del plazo y sobrevive a una caída del servidor más corta
  hasta= noches=  hasta entonces, sin renovar
  (ninguna)       hasta=salir por=1m: se renueva cada 20 segundos
  hasta=salir     mientras dure la conexión
  espera=1h       espera su turno
  titular=ana     a nombre de ana
Si la reserva se pierde (otro la cancela, el servidor no vuelve a tiempo, llega su final), todos los
procesos del programa reciben TERM y, como mucho 5 segundos después y antes de que venza, KILL. Lo
mismo ocurre si matan a reserva, y con los procesos que el programa deja en marcha al terminar, salvo
con --wait-children. --quiet y --wait-children también se pueden escribir detrás de ejecutar.

Ejemplos:
  reserva LISTAR
  reserva RESERVAR Habitación 1 nota='dos adultos'
  reserva --server hotel.example:12345 CANCELAR '#42'
  reserva < ordenes.txt
  reserva OBSERVAR
  reserva ejecutar 'placa *' por=10m espera=1h -- make prueba

Termina con:
  0   todo OK
  64  ERR 400, 401, 403, 404, 410, 413, uso incorrecto o entrada que no es texto: corrígelo antes de repetir
  69  no hay servidor, o la conexión se perdió o quedó sin respuesta
  71  el sistema no puede crear un proceso para el programa
  74  falló la lectura de la entrada o la escritura de la salida
  75  ERR 408, 409, 429, 503: prueba más tarde
y ejecutar, con el código del programa (128+n si lo terminó la señal n), con uno de los anteriores, o:
  76  se perdió la reserva
  126, 127  el programa no se puede ejecutar, o no existe",
"With arguments, sends them as one line and prints the reply: OK on standard output, ERR on
standard error. Options come before the first word. Quotes that the shell removes are restored:
note='two adults' is sent as note=\"two adults\".

Without arguments on a terminal, it is interactive. Without arguments and with any other input, it
sends all input lines without waiting and prints all replies, including ERR, in order on standard
output.

run (or ejecutar) reserves, runs the program and releases. The program gets its arguments, input,
outputs, terminal and signals unchanged, and RESERVA_ID, RESERVA_RECURSOS (one a line) and
RESERVA_HASTA in its environment. The options are those of RESERVE, except from= and key=:
  for=30m         renewed after each third of its term; survives a shorter server outage
  until= nights=  until then, not renewed
  (none)          until=quit for=1m: renewed every 20 seconds
  until=quit      as long as the connection lasts
  wait=1h         waits its turn
  holder=ana      in the name of ana
If the reservation is lost (somebody cancels it, the server is not back in time, its end comes),
all processes of the program get TERM and, within 5 seconds and before the reservation ends, KILL.
The same happens if reserva is killed, and to processes that the program leaves running at its
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
  126, 127  the program cannot be run, or is not there";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_have_the_same_holes() {
        for text in ALL {
            let holes = |template: &str| template.matches("{}").count();
            assert_eq!(holes(text.spanish), holes(text.english), "{text:?}");
            assert!(!text.spanish.is_empty() && !text.english.is_empty());
        }
    }

    #[test]
    fn holes_are_filled_in_order_and_values_are_left_alone() {
        let text = Text { spanish: "{} a {}!", english: "{}" };
        assert_eq!(Language::Spanish.say(text, &["{}", "b"]), "{} a b!");
    }

    #[test]
    fn the_first_variable_that_says_something_decides() {
        use Language::{English, Spanish};
        let rows: [([Option<&str>; 3], Language); 9] = [
            ([None, None, None], English),
            ([None, None, Some("es_AR.UTF-8")], Spanish),
            ([None, None, Some("es")], Spanish),
            ([None, None, Some("en_US.UTF-8")], English),
            ([None, Some("C"), Some("es_ES")], English),
            ([Some(""), Some(""), Some("es_ES")], Spanish),
            ([Some("es_ES"), Some("en"), Some("en")], Spanish),
            ([Some("POSIX"), Some("es"), Some("es")], English),
            ([Some(""), None, None], English),
        ];
        for (values, expected) in rows {
            let got = Language::from_environment(|name| {
                let at = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().position(|n| *n == name);
                at.and_then(|at| values[at]).map(OsString::from)
            });
            assert_eq!(got, expected, "{values:?}");
        }
    }
}
