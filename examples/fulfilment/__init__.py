"""A process manager with a deadline and compensation: events.py has the facts, process.py decides the next step.

    OrderPlaced -> ChargeCard -> CardCharged -> SendParcel -> ParcelSent
                        |                            |
                        | not in three days          | ParcelRefused
                        v                            v
                   OrderCancelled    <----      RefundCard          the charge is refunded

$ eventkit db upgrade
$ python -m examples.fulfilment                                             # makes the tables, places three orders
$ eventkit projector run examples.fulfilment.workers:everything --from store
$ eventkit timers run
"""
