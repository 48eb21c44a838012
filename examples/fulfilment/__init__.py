"""A process manager with a deadline and compensation: events.py says what happens, process.py what happens next.

    OrderPlaced -> ChargeCard -> CardCharged -> SendParcel -> ParcelSent
                        |                            |
                        | not in three days          | ParcelRefused
                        v                            v
                   OrderCancelled    <----      RefundCard          what was done is made good

$ eventkit db upgrade
$ python -m examples.fulfilment                                             # makes the tables, places three orders
$ eventkit projector run examples.fulfilment.workers:everything --from store
$ eventkit timers run
"""
