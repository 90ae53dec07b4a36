#!/bin/sh
# Runs a command on the first free board of a test rack, for example in a continuous integration job:
#
#     examples/with-board.sh ./flash-and-test firmware.bin
#
# The command finds the name of its board in $BOARD. The script waits up to ten minutes for a board.
# `reserva run` keeps the reservation as long as the command runs and cancels it afterwards, also if the
# job is killed. The exit status is that of the command, or 75 if all boards stayed reserved.
#
# RESERVA_SERVER selects the server, as for every use of `reserva`.
exec reserva run 'Board *' wait="${BOARD_WAIT:-10m}" -- sh -c 'BOARD=$RESERVA_RECURSOS exec "$@"' sh "$@"
